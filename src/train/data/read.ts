// From sources to records: files, formats, weights and limits. A bad record ends the reading with its place, unless bad
// ones are to be skipped, which is counted. Knows nothing of tokens.
import { randomPermutation } from "../../tensor/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import { isObject } from "./fields.ts";
import { readFileRecords, type FileRecord } from "./files.ts";
import {
  commandOf,
  formatNamed,
  loadFormats,
  purposeNames,
  RecordFault,
  type NamedFormat,
  type RawRecord,
} from "./format.ts";
import type { DataSource, Purpose, RecordPlace, RecordsOf } from "./record.ts";
import { locateFiles, type LocatedFile } from "./sources.ts";

export interface ReadOptions {
  /** Name of a format for the sources that name none; else it is found by what the records look like. */
  format?: string;
  /** Leaves out records that cannot be read, and counts them. Default: the first is a Failure. */
  skipBad?: boolean;
  /** Decides which records are taken where a weight or a limit takes a part. Default 1. */
  seed?: number;
  signal?: AbortSignal;
}

export interface PlacedRecord<Item> {
  record: Item;
  place: RecordPlace;
}

export interface SourceReport {
  path: string;
  files: string[];
  /** Records in the files. */
  records: number;
  /** What came of them, by format, before weight and limit. */
  formats: Record<string, number>;
  /** Left out because they could not be read. */
  bad: number;
  /** The first few reasons. */
  badReasons: string[];
  /** What is given, weight and limit applied. */
  taken: number;
}

export interface ReadResult<Item> {
  records: PlacedRecord<Item>[];
  sources: SourceReport[];
}

/** The most sources: their numbers are a byte of each row of a batch. */
const mostSources = 255;
const keptReasons = 5;
const progressEvery = 2048;
/** Streams of random numbers; the source's index is added. */
const choiceStream = 0x5e1ec7;

/**
 * Reads all records of the sources that serve a purpose, in their order; those of a weight above 1 come again after
 * each other.
 * @throws Failure "input" that names file, record and field; "usage" for a format that does not exist or does not fit.
 */
export async function* readRecords<P extends Purpose>(
  sources: readonly DataSource[],
  purpose: P,
  options: ReadOptions = {},
): Job<ReadResult<RecordsOf[P]>> {
  type Item = RecordsOf[P];
  const { format, skipBad = false, seed = 1, signal } = options;
  if (sources.length === 0) throw new Failure("usage", "there are no data.", "Give a file with --data FILE.");
  if (sources.length > mostSources)
    throw new Failure("usage", `there are ${sources.length} sources; ${mostSources} are the most.`, "Join some files.");
  const formats = await loadFormats();
  const records: PlacedRecord<Item>[] = [];
  const reports: SourceReport[] = [];
  for (const [index, source] of sources.entries()) {
    const named = source.format ?? format;
    const chosen = named === undefined ? undefined : formatNamed(formats, named, purpose);
    const files = yield* locateFiles(source, { signal });
    const report: SourceReport = {
      path: source.path,
      files: files.map(({ name }) => name),
      records: 0,
      formats: {},
      bad: 0,
      badReasons: [],
      taken: 0,
    };
    const own: PlacedRecord<Item>[] = [];
    for (const file of files) {
      const reader = createReader(file, source, purpose, formats, chosen);
      const fault = (record: Pick<FileRecord, "number" | "line">, field: string, message: string): void => {
        const where = record.line === undefined ? `record ${record.number}` : `line ${record.line}`;
        const sentence = `${file.name}, ${where}: ${field === "" ? "" : `${field}: `}${message}`;
        if (!skipBad) {
          throw new Failure(
            "input",
            `${sentence}.`,
            reader.format === undefined
              ? "Mend or remove the record, or leave out bad ones with --skip-bad."
              : `It was read as ${reader.format.name}: ${reader.format.summary}. Mend or remove the record, or leave out bad ones with --skip-bad.`,
          );
        }
        report.bad += 1;
        if (report.badReasons.length < keptReasons) report.badReasons.push(sentence);
      };
      for await (const raw of reader.records(fault)) {
        report.records += raw.count;
        if (report.records % progressEvery === 0) {
          signal?.throwIfAborted();
          yield { type: "progress", step: "read", done: report.records, unit: "records" };
        }
        if (raw.value === undefined) continue;
        try {
          refuseMedia(raw.value);
          const { name, read } = reader.formatOf(raw.value);
          for (const record of read(raw.value, purpose)) {
            report.formats[name] = (report.formats[name] ?? 0) + 1;
            const { number, line } = raw;
            const place = { source: index, file: file.name, number, ...(line !== undefined && { line }), format: name };
            // Sound: a format of this purpose gives records of its kinds.
            own.push({ record: record as Item, place });
          }
        } catch (error) {
          if (!(error instanceof RecordFault)) throw error;
          fault(raw, error.field, error.message);
        }
      }
    }
    const taken = weigh(own, source, seed, index);
    report.taken = taken.length;
    records.push(...taken);
    reports.push(report);
  }
  if (records.length === 0) {
    const bad = reports.reduce((sum, each) => sum + each.bad, 0);
    throw new Failure(
      "input",
      `${sources.map(({ path }) => path).join(", ")}: there are no ${purposeNames[purpose]} in it.`,
      bad > 0
        ? `All ${bad} records were bad; the first: ${reports.flatMap((each) => each.badReasons)[0]}.`
        : "Give a file with at least one record.",
    );
  }
  return { records, sources: reports };
}

/** A record of a file as an object; `count` is how many of the file's records it stands for. */
type RawEntry = Pick<FileRecord, "number" | "line"> & { value?: RawRecord; count: number };

type OnFault = (record: Pick<FileRecord, "number" | "line">, field: string, message: string) => void;

function createReader(
  file: LocatedFile,
  { columns = {} }: DataSource,
  purpose: Purpose,
  formats: readonly NamedFormat[],
  chosen: NamedFormat | undefined,
) {
  /** What the file's first record looks like decides, for all records that look so too. */
  let usual = chosen;

  /** What knows a record best, unless that is for something else: pairs are no dialogues, although they hold some. */
  function bestOf(record: RawRecord): NamedFormat | undefined {
    const found = formats.find((each) => each.purposes.includes(purpose) && each.detect(record));
    const isOther = formats.some((each) => (each.rank ?? 0) > Math.max(0, found?.rank ?? 0) && each.detect(record));
    return isOther ? undefined : found;
  }

  function formatOf(record: RawRecord): NamedFormat {
    if (chosen !== undefined) return chosen;
    if (usual?.detect(record)) return usual;
    const found = bestOf(record);
    if (found === undefined) throw new RecordFault("", unknownRecord(record, purpose, formats));
    usual ??= found;
    return found;
  }

  async function* records(fault: OnFault): AsyncGenerator<RawEntry, void, void> {
    const gathered: RawEntry[] = [];
    for await (const raw of readFileRecords(file.path)) {
      const entry = { number: raw.number, ...(raw.line !== undefined && { line: raw.line }), count: 1 };
      if (raw.error !== undefined) fault(entry, "", raw.error);
      else if (!isObject(raw.value)) fault(entry, "", "expected an object with fields");
      else {
        const value = renamed(raw.value, columns);
        usual ??= chosen ?? bestOf(value);
        if (usual?.gather === undefined) yield { ...entry, value };
        else gathered.push({ ...entry, value });
        continue;
      }
      yield entry;
    }
    if (gathered.length === 0 || usual?.gather === undefined) return;
    const values = gathered.flatMap(({ value }) => (value === undefined ? [] : [value]));
    for (const [index, value] of usual.gather(values).entries()) {
      yield { number: index + 1, value, count: index === 0 ? gathered.length : 0 };
    }
  }

  return {
    records,
    formatOf,
    get format() {
      return usual;
    },
  };
}

/** Pictures, sound and video are given as lists of files beside the texts. */
function refuseMedia(record: RawRecord): void {
  for (const field of ["images", "image", "audios", "videos"]) {
    const value = record[field];
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0)) continue;
    throw new RecordFault(field, "pictures, sound and video are not learnt here");
  }
}

function renamed(record: RawRecord, columns: Readonly<Record<string, string>>): RawRecord {
  const names = Object.entries(columns).filter(([theirs]) => theirs in record);
  if (names.length === 0) return record;
  const result: Record<string, unknown> = { ...record };
  for (const [theirs] of names) delete result[theirs];
  for (const [theirs, ours] of names) result[ours] = record[theirs];
  return result;
}

/** What a record that no format knows has, and what it might be good for. */
function unknownRecord(record: RawRecord, purpose: Purpose, formats: readonly NamedFormat[]): string {
  const fields = Object.keys(record).slice(0, 12).join(", ") || "none";
  const other = formats.find((each) => each.detect(record) && !each.purposes.includes(purpose));
  const known = `no format knows a record with the fields ${fields}`;
  if (other !== undefined) {
    const like = other.purposes[0]!;
    const looks = `It looks like ${purposeNames[like]} (${other.name}), which ${commandOf[like]} learns from`;
    return `${known}. ${looks}; ${purposeNames[purpose]} are wanted here`;
  }
  const wanted = formats.filter((each) => each.purposes.includes(purpose));
  return `${known}. Known are: ${wanted.map(({ name, summary }) => `${name} ${summary}`).join("; ")}`;
}

/** Applies a weight or a limit: whole times all of them, and of the rest a part chosen by the seed. */
function weigh<Item>(own: Item[], { weight = 1, limit }: DataSource, seed: number, index: number): Item[] {
  const wanted = Math.min(Math.round(own.length * weight), limit ?? Infinity);
  if (wanted === own.length) return own;
  const times = own.length === 0 ? 0 : Math.floor(wanted / own.length);
  const some = new Set(
    randomPermutation(seed, choiceStream + index, own.length).subarray(0, wanted - times * own.length),
  );
  return own.flatMap((item, place) => Array.from({ length: times + (some.has(place) ? 1 : 0) }, () => item));
}
