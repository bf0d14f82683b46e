// What data come to before a step is run: counts, lengths, the share that is learnt, repetitions, and what an epoch costs.
import { hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { createNearDuplicates, scriptOf } from "../../corpus/index.ts";
import type { Job } from "../../protocol/job.ts";
import type { Message } from "../../protocol/message.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Example } from "../sampler.ts";
import {
  encodePairs,
  encodePrompts,
  encodeRatings,
  encodeRecords,
  type ExampleOptions,
  type ExampleReport,
} from "./examples.ts";
import { packEpoch } from "./packing.ts";
import { readRecords } from "./read.ts";
import type { DataSource, Purpose, RecordPlace, RecordsOf } from "./record.ts";

export interface InspectOptions extends ExampleOptions {
  /** What the data are for. Default "tune". */
  purpose?: Purpose;
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

/** What lies together in a batch: an example, or the sides of a pair by name. */
export interface InspectedItem {
  place: RecordPlace;
  parts: { name: string; example: Example }[];
}

export interface DataInspection {
  examples: InspectedItem[];
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
  const { examples, report, asked } = yield* readFor(tokenizer, sources, options);
  const sizes = examples.map(({ parts }) => parts.reduce((sum, { example }) => sum + example.tokens.length, 0));
  const lengths = Uint32Array.from(sizes).sort();
  const quantile = (share: number): number =>
    lengths[Math.min(lengths.length - 1, Math.floor(share * lengths.length))]!;
  /** By content, where it stands: what a weight repeats stands in the same place. */
  const seen = new Map<string, Set<RecordPlace>>();
  let repeatedExamples = 0;
  let emptyAnswers = 0;
  for (const { parts, place } of examples) {
    const bytes = parts.flatMap(({ example: { tokens, targets } }) => [bytesOf(tokens), bytesOf(targets)]);
    const key = hash("sha256", Buffer.concat(bytes), "base64");
    const places = seen.get(key);
    if (places === undefined) seen.set(key, new Set([place]));
    else if (!places.has(place)) {
      places.add(place);
      repeatedExamples++;
    }
    const hasAnswer = options.purpose !== "prompt";
    if (hasAnswer && parts.some(({ example }) => isEmptyAnswer(tokenizer, example.targets))) emptyAnswers++;
  }
  const prompts = yield* findRepeatedPrompts(asked, options.signal);
  const rows = Math.max(options.batchTokens, lengths.at(-1)!);
  const batches = packEpoch(sizes, { rows, seed: options.seed ?? 1 }, 0).length;
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
      epoch: {
        batches,
        steps: Math.ceil(batches / options.accumulate),
        padding: 1 - report.tokens / (batches * rows),
      },
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

/** What is asked where. */
interface Asked {
  text: string | undefined;
  place: RecordPlace;
}

/** Reads data for what they are for. */
async function* readFor(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: InspectOptions,
): Job<{ examples: InspectedItem[]; report: ExampleReport; asked: Asked[] }> {
  const { purpose = "tune" } = options;
  const one = ({ place, ...example }: Example & { place: RecordPlace }, name: string): InspectedItem => ({
    place,
    parts: [{ name, example }],
  });
  switch (purpose) {
    case "tune": {
      const read = yield* readRecords(sources, purpose, options);
      const { examples, report } = yield* encodeRecords(tokenizer, read, options);
      return { examples: examples.map((each) => one(each, "")), report, asked: askedIn(read.records) };
    }
    case "pair": {
      const read = yield* readRecords(sources, purpose, options);
      const { examples, report } = yield* encodePairs(tokenizer, read, options);
      const items = examples.map(({ place, chosen, rejected }) => ({
        place,
        parts: [
          { name: "chosen", example: chosen },
          { name: "rejected", example: rejected },
        ],
      }));
      return { examples: items, report, asked: askedIn(read.records) };
    }
    case "rated": {
      const read = yield* readRecords(sources, purpose, options);
      const { examples, report } = yield* encodeRatings(tokenizer, read, options);
      const items = examples.map((each) => one(each, each.desirable ? "a good answer" : "a bad answer"));
      return { examples: items, report, asked: askedIn(read.records) };
    }
    case "prompt": {
      const read = yield* readRecords(sources, purpose, options);
      const { examples, report } = yield* encodePrompts(tokenizer, read, options);
      const items = examples.map(({ tokens, place, record }) =>
        one(
          { tokens, targets: new Int32Array(tokens.length).fill(-1), place },
          record.reference === undefined
            ? "a prompt"
            : `a prompt, to be answered by ${JSON.stringify(record.reference)}`,
        ),
      );
      return { examples: items, report, asked: askedIn(read.records) };
    }
    default:
      return purpose satisfies never;
  }
}

function askedIn(records: readonly { record: RecordsOf[Purpose]; place: RecordPlace }[]): Asked[] {
  return [...new Set(records)].map(({ record, place }) => ({ text: promptText(record), place }));
}

/** What is asked, without system texts, which all dialogues of a set may share; undefined for tokens. */
function promptText(record: RecordsOf[Purpose]): string | undefined {
  const users = (messages: readonly Message[]): string =>
    messages
      .filter(({ role }) => role === "user")
      .map(({ content }) => content)
      .join("\n");
  switch (record.kind) {
    case "dialogue":
      return users(record.messages);
    case "pair":
    case "rated":
    case "prompt":
      return users(record.prompt);
    case "text":
      return record.text;
    case "tokens":
      return undefined;
    default:
      return record satisfies never;
  }
}

async function* findRepeatedPrompts(
  asked: readonly Asked[],
  signal: AbortSignal | undefined,
): Job<Omit<DataStatistics["repeated"], "examples">> {
  const byText = new Map<string, { count: number; place: RecordPlace }>();
  for (const { text: written, place } of asked) {
    const text = written?.trim();
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
