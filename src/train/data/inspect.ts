// What data come to before a step is run: counts, lengths, the share that is learnt, repetitions, and what an epoch costs.
import { hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { createNearDuplicates, scriptOf } from "../../corpus/index.ts";
import type { Job } from "../../protocol/job.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { encodeRecords, type ExampleOptions, type ExampleReport, type TrainingExample } from "./examples.ts";
import { packingReport } from "./packing.ts";
import { readRecords } from "./read.ts";
import type { DataSource, RecordPlace, RecordsOf } from "./record.ts";

export interface InspectOptions extends ExampleOptions {
  /** Tokens of a batch, and batches of a step. */
  batchTokens: number;
  accumulate: number;
}

export interface DataStatistics extends ExampleReport {
  lengths: {
    min: number;
    median: number;
    p95: number;
    max: number;
    mean: number;
    /** Examples of at most `upTo` tokens, and more than the bin before. */
    histogram: { upTo: number; count: number }[];
  };
  /** Of the tokens, how many have a loss. */
  trainedShare: number;
  /** Examples of which nothing but the end of the answer is learnt. */
  emptyAnswers: number;
  repeated: {
    /** Examples that are the same to the token as an earlier one. */
    examples: number;
    /** Prompts that say the same as an earlier one. */
    prompts: number;
    /** Prompts that say nearly the same as an earlier one, without those that say the same. */
    nearPrompts: number;
    /** The prompts that are repeated most, with how often they stand there. */
    most: { prompt: string; count: number; place: RecordPlace }[];
  };
  epoch: {
    batches: number;
    steps: number;
    /** Share of the rows of its batches that hold no example. */
    padding: number;
  };
}

export interface DataInspection {
  examples: TrainingExample[];
  statistics: DataStatistics;
}

const mostBins = 24;
const shownPrompts = 3;
const shownCharacters = 120;

/** Reads and encodes data as training does, and says what they come to. Throws as `readExamples`. */
export async function* inspectData(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: InspectOptions,
): Job<DataInspection> {
  const read = yield* readRecords(sources, "tune", options);
  const { examples, report } = yield* encodeRecords(tokenizer, read, options);
  const lengths = Uint32Array.from(examples, ({ tokens }) => tokens.length).sort();
  const quantile = (share: number): number =>
    lengths[Math.min(lengths.length - 1, Math.floor(share * lengths.length))]!;
  /** By content, where it stands: what a weight repeats stands in the same place. */
  const seen = new Map<string, Set<RecordPlace>>();
  let repeatedExamples = 0;
  let emptyAnswers = 0;
  for (const { tokens, targets, place } of examples) {
    const key = hash("sha256", Buffer.concat([bytesOf(tokens), bytesOf(targets)]), "base64");
    const places = seen.get(key);
    if (places === undefined) seen.set(key, new Set([place]));
    else if (!places.has(place)) {
      places.add(place);
      repeatedExamples++;
    }
    if (isEmptyAnswer(tokenizer, targets)) emptyAnswers++;
  }
  const prompts = yield* findRepeatedPrompts(read.records, options.signal);
  const { batches, padding } = packingReport(examples, { rows: options.batchTokens, seed: options.seed ?? 1 });
  return {
    examples,
    statistics: {
      ...report,
      lengths: {
        min: lengths[0]!,
        median: quantile(0.5),
        p95: quantile(0.95),
        max: lengths.at(-1)!,
        mean: report.tokens / examples.length,
        histogram: histogramOf(lengths),
      },
      trainedShare: report.trained / report.tokens,
      emptyAnswers,
      repeated: { examples: repeatedExamples, ...prompts },
      epoch: { batches, steps: Math.ceil(batches / options.accumulate), padding },
    },
  };
}

const bytesOf = (ids: Int32Array): Uint8Array => new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);

/** Whether what is learnt says nothing: control tokens and white space alone. */
function isEmptyAnswer(tokenizer: Tokenizer, targets: Int32Array): boolean {
  const learnt = targets.filter((target) => target >= 0 && !tokenizer.isControl(target));
  return learnt.length < 4 && tokenizer.decode(learnt).trim() === "";
}

/** Bins of equal width, at most so many, a round number of tokens each. */
function histogramOf(sorted: Uint32Array): { upTo: number; count: number }[] {
  const longest = sorted.at(-1)!;
  const width = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000].find(
    (each) => longest / each <= mostBins,
  );
  const step = width ?? Math.ceil(longest / mostBins);
  const counts = Array.from({ length: Math.max(1, Math.ceil(longest / step)) }, () => 0);
  for (const length of sorted) counts[Math.max(0, Math.ceil(length / step) - 1)]!++;
  return counts.map((count, index) => ({ upTo: (index + 1) * step, count }));
}

/** What is asked, without system texts, which all dialogues of a set may share; undefined for tokens. */
function promptText(record: RecordsOf["tune"]): string | undefined {
  switch (record.kind) {
    case "dialogue":
      return record.messages
        .filter(({ role }) => role === "user")
        .map(({ content }) => content)
        .join("\n");
    case "text":
      return record.text;
    case "tokens":
      return undefined;
    default:
      return record satisfies never;
  }
}

async function* findRepeatedPrompts(
  records: readonly { record: RecordsOf["tune"]; place: RecordPlace }[],
  signal: AbortSignal | undefined,
): Job<Omit<DataStatistics["repeated"], "examples">> {
  const byText = new Map<string, { count: number; place: RecordPlace }>();
  for (const { record, place } of new Set(records)) {
    const text = promptText(record)?.trim();
    if (text === undefined || text === "") continue;
    const known = byText.get(text);
    if (known === undefined) byText.set(text, { count: 1, place });
    else known.count++;
  }
  const near = createNearDuplicates();
  for (const text of byText.keys()) near.add(text, scriptOf(text));
  const clustering = near.cluster();
  let clusters: Int32Array | undefined;
  while (clusters === undefined) {
    const { done, value } = clustering.next();
    if (done) clusters = value;
    else {
      await setImmediate();
      signal?.throwIfAborted();
      yield { type: "progress", step: "near duplicates", done: value, unit: "bands" };
    }
  }
  let prompts = 0;
  for (const { count } of byText.values()) prompts += count - 1;
  const most = [...byText].filter(([, { count }]) => count > 1).sort(([, one], [, two]) => two.count - one.count);
  return {
    prompts,
    nearPrompts: clusters.reduce((sum, least, index) => sum + (least === index ? 0 : 1), 0),
    most: most.slice(0, shownPrompts).map(([text, { count, place }]) => ({ prompt: shorten(text), count, place })),
  };
}

function shorten(text: string): string {
  const characters = [...text];
  return characters.length <= shownCharacters ? text : `${characters.slice(0, shownCharacters - 1).join("")}…`;
}
