// From sources to what is trained on: records read, encoded, cut to length, and counted.
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import type { Example } from "../sampler.ts";
import { encodeAnswer, encodeDialogue, encodePrompt, type EncodeOptions, type EncodedDialogue } from "./encode.ts";
import { readRecords, type PlacedRecord, type ReadOptions, type ReadResult, type SourceReport } from "./read.ts";
import type { DataSource, PlainText, PromptRecord, RecordPlace, RecordsOf, TokenRecord } from "./record.ts";

/**
 * What is done with a dialogue that is too long: left out, cut after the last answer that fits, or cut where the length
 * ends. Plain texts and tokens are never left out: they go on in a further example.
 */
export const lengthPolicies = ["drop", "turn", "cut"] as const;
export type LengthPolicy = (typeof lengthPolicies)[number];

export interface ExampleOptions extends ReadOptions, EncodeOptions {
  /** Most tokens of an example. */
  maxLength: number;
  /** Default "drop". */
  tooLong?: LengthPolicy;
}

export interface TrainingExample extends Example {
  /** Index of the source. */
  source: number;
  place: RecordPlace;
}

/** What became of the records of a source. Every record that was taken is in some of these. */
export interface ExampleCounts extends SourceReport {
  examples: number;
  /** Left out because they are too long. */
  dropped: number;
  /** Cut to the length. */
  cut: number;
  /** Left out because nothing in them is learnt. */
  untrained: number;
  /** Examples beyond the first that a record gave: pieces of texts, and answers that the template renders anew. */
  further: number;
  /** Tokens of the examples, and those with a loss. */
  tokens: number;
  trained: number;
}

export interface ExampleReport {
  sources: ExampleCounts[];
  /** Sums over the sources. */
  examples: number;
  dropped: number;
  cut: number;
  untrained: number;
  bad: number;
  tokens: number;
  trained: number;
}

export interface ExampleSet<Item> {
  examples: Item[];
  report: ExampleReport;
}

const progressEvery = 512;

/**
 * Dialogues, texts and tokens as examples, in the order of the sources.
 * @throws Failure "input" that names the file, the record and what is wrong with it; as `readRecords`.
 */
export async function* readExamples(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: ExampleOptions,
): Job<ExampleSet<TrainingExample>> {
  return yield* encodeRecords(tokenizer, yield* readRecords(sources, "tune", options), options);
}

/** What `readExamples` makes of records that are read already. */
export function encodeRecords(
  tokenizer: Tokenizer,
  read: ReadResult<RecordsOf["tune"]>,
  options: ExampleOptions,
): Job<ExampleSet<TrainingExample>> {
  const { maxLength, tooLong = "drop" } = options;
  return encodeAll(read, options, ({ record, place }, counts) => {
    const whole = encodeRecord(tokenizer, record, maxLength, options);
    if (whole.length === 0) counts.untrained++;
    counts.further += Math.max(0, whole.length - 1);
    return whole.flatMap((example): TrainingExample[] => {
      const fitted = fit(example, maxLength, tooLong);
      if (fitted === undefined) {
        counts.dropped++;
        return [];
      }
      if (fitted !== example) counts.cut++;
      if (!fitted.targets.some((target) => target >= 0)) {
        counts.untrained++;
        return [];
      }
      return [{ tokens: fitted.tokens, targets: fitted.targets, source: place.source, place }];
    });
  });
}

/** Two answers to one prompt as examples of which only the answers are targets. */
export interface EncodedPair {
  chosen: Example;
  rejected: Example;
  source: number;
  place: RecordPlace;
}

/** Preference pairs; a pair is left out where a side is too long, whatever the policy. Throws as `readExamples`. */
export async function* readPairs(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: ExampleOptions,
): Job<ExampleSet<EncodedPair>> {
  return yield* encodePairs(tokenizer, yield* readRecords(sources, "pair", options), options);
}

/** What `readPairs` makes of records that are read already. */
export function encodePairs(
  tokenizer: Tokenizer,
  read: ReadResult<RecordsOf["pair"]>,
  options: ExampleOptions,
): Job<ExampleSet<EncodedPair>> {
  return encodeAll(read, options, ({ record, place }, counts) => {
    const { prompt, tools } = record;
    const [chosen, rejected] = [record.chosen, record.rejected].map((answer) =>
      encodeAnswer(tokenizer, prompt, answer, tools, options),
    ) as [Example, Example];
    if (Math.max(chosen.tokens.length, rejected.tokens.length) > options.maxLength) {
      counts.dropped++;
      return [];
    }
    return [{ chosen, rejected, source: place.source, place }];
  });
}

/** An answer as an example of which only the answer is target, and whether it is a good one. */
export interface EncodedRating extends TrainingExample {
  desirable: boolean;
}

/** Rated answers; one that is too long is left out, whatever the policy. Throws as `readExamples`. */
export async function* readRatings(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: ExampleOptions,
): Job<ExampleSet<EncodedRating>> {
  return yield* encodeRatings(tokenizer, yield* readRecords(sources, "rated", options), options);
}

/** What `readRatings` makes of records that are read already. */
export function encodeRatings(
  tokenizer: Tokenizer,
  read: ReadResult<RecordsOf["rated"]>,
  options: ExampleOptions,
): Job<ExampleSet<EncodedRating>> {
  return encodeAll(read, options, ({ record, place }, counts) => {
    const example = encodeAnswer(tokenizer, record.prompt, record.answer, record.tools, options);
    if (example.tokens.length > options.maxLength) {
      counts.dropped++;
      return [];
    }
    return [{ ...example, desirable: record.desirable, source: place.source, place }];
  });
}

export interface EncodedPrompt {
  /** The ids after which the model answers. */
  tokens: Int32Array;
  record: PromptRecord;
  source: number;
  place: RecordPlace;
}

/** Prompts of at most `maxLength` tokens. Throws as `readExamples`. */
export async function* readPrompts(
  tokenizer: Tokenizer,
  sources: readonly DataSource[],
  options: ExampleOptions,
): Job<ExampleSet<EncodedPrompt>> {
  return yield* encodePrompts(tokenizer, yield* readRecords(sources, "prompt", options), options);
}

/** What `readPrompts` makes of records that are read already. */
export function encodePrompts(
  tokenizer: Tokenizer,
  read: ReadResult<RecordsOf["prompt"]>,
  options: ExampleOptions,
): Job<ExampleSet<EncodedPrompt>> {
  return encodeAll(read, options, ({ record, place }, counts) => {
    const tokens = encodePrompt(tokenizer, record.prompt, record.tools, options);
    if (tokens.length > options.maxLength) {
      counts.dropped++;
      return [];
    }
    return [{ tokens, record, source: place.source, place }];
  });
}

/** Reads records, encodes each, and adds up what came of them. */
async function* encodeAll<Read, Item extends TrainingExample | EncodedPair | EncodedPrompt>(
  { records, sources: reports }: ReadResult<Read>,
  options: ExampleOptions,
  encode: (placed: PlacedRecord<Read>, counts: ExampleCounts) => readonly Item[],
): Job<ExampleSet<Item>> {
  const counts = reports.map((report): ExampleCounts => ({
    ...report,
    examples: 0,
    dropped: 0,
    cut: 0,
    untrained: 0,
    further: 0,
    tokens: 0,
    trained: 0,
  }));
  const examples: Item[] = [];
  for (const [index, placed] of records.entries()) {
    const own = counts[placed.place.source]!;
    try {
      for (const item of encode(placed, own)) {
        examples.push(item);
        own.examples++;
        for (const { tokens, targets } of sidesOf(item)) {
          own.tokens += tokens.length;
          for (const target of targets) if (target >= 0) own.trained++;
        }
      }
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== "input") throw error;
      const sentence = `${describePlace(placed.place)}: ${error.message}`;
      if (!options.skipBad) throw new Failure("input", sentence, error.hint, { cause: error });
      own.bad++;
      if (own.badReasons.length === 0) own.badReasons.push(sentence);
    }
    if ((index + 1) % progressEvery === 0 || index + 1 === records.length) {
      options.signal?.throwIfAborted();
      yield { type: "progress", step: "encode", done: index + 1, total: records.length, unit: "records" };
    }
  }
  const sum = (key: "examples" | "dropped" | "cut" | "untrained" | "bad" | "tokens" | "trained"): number =>
    counts.reduce((total, each) => total + each[key], 0);
  const report: ExampleReport = {
    sources: counts,
    examples: sum("examples"),
    dropped: sum("dropped"),
    cut: sum("cut"),
    untrained: sum("untrained"),
    bad: sum("bad"),
    tokens: sum("tokens"),
    trained: sum("trained"),
  };
  if (examples.length === 0) throw nothingLeft(report, options);
  return { examples, report };
}

const noTargets = new Int32Array(0);

/** What is counted of an item. */
function sidesOf(item: TrainingExample | EncodedPair | EncodedPrompt): readonly Example[] {
  if ("chosen" in item) return [item.chosen, item.rejected];
  return "targets" in item ? [item] : [{ tokens: item.tokens, targets: noTargets }];
}

/** A place as people read it: "data.jsonl, line 12". */
export function describePlace({ file, number, line }: RecordPlace): string {
  return `${file}, ${line === undefined ? `record ${number}` : `line ${line}`}`;
}

function nothingLeft(report: ExampleReport, { maxLength }: ExampleOptions): Failure {
  const name = report.sources.map(({ path }) => path).join(", ");
  if (report.dropped > 0) {
    return new Failure(
      "input",
      `${name}: nothing of at most ${maxLength} tokens is left to train on; ${report.dropped} are longer.`,
      "Raise --batch-tokens (and --max-length, where it is given), as far as the model's positions go, or shorten the examples.",
    );
  }
  const reason = report.sources.flatMap(({ badReasons }) => badReasons)[0];
  return new Failure(
    "input",
    `${name}: nothing in it is learnt.`,
    reason === undefined
      ? "Every answer is marked not to be learnt, or was cut off by --too-long."
      : `The first bad record: ${reason}.`,
  );
}

function encodeRecord(
  tokenizer: Tokenizer,
  record: RecordsOf["tune"],
  maxLength: number,
  options: EncodeOptions,
): readonly (Example & Partial<Pick<EncodedDialogue, "turnEnds">>)[] {
  switch (record.kind) {
    case "dialogue":
      return encodeDialogue(tokenizer, record, options);
    case "text":
      return pieces(encodeWhole(tokenizer, record), maxLength);
    case "tokens":
      return pieces(maskTokens(tokenizer, record), maxLength);
    default:
      return record satisfies never;
  }
}

/** A text between the beginning and the end of a document, all of it learnt. */
function encodeWhole(tokenizer: Tokenizer, { text }: PlainText): Example {
  const { bosId, eosId } = tokenizer;
  const ids = [...(bosId === undefined ? [] : [bosId]), ...tokenizer.encode(text), eosId];
  return { tokens: Int32Array.from(ids.slice(0, -1)), targets: Int32Array.from(ids.slice(1)) };
}

function maskTokens({ vocabSize }: Tokenizer, { tokens }: TokenRecord): Example {
  const outside = tokens.findIndex((id) => Math.abs(id) >= vocabSize);
  if (outside >= 0) {
    throw new Failure(
      "input",
      `tokens[${outside}] is ${tokens[outside]}, and the tokenizer knows ${vocabSize} ids`,
      "The tokens were made with another tokenizer.",
    );
  }
  // In JSON -0 is a number of its own, and means the id 0 without loss.
  const isMasked = (id: number): boolean => id < 0 || Object.is(id, -0);
  return {
    tokens: Int32Array.from(tokens.slice(0, -1), (id) => Math.abs(id)),
    targets: Int32Array.from(tokens.slice(1), (id) => (isMasked(id) ? -1 : id)),
  };
}

/** A long example in pieces, each of at most `maxLength` tokens; none where nothing is learnt. */
function pieces({ tokens, targets }: Example, maxLength: number): Example[] {
  const all: Example[] = [];
  for (let start = 0; start < tokens.length; start += maxLength) {
    const part = targets.subarray(start, start + maxLength);
    if (part.some((target) => target >= 0))
      all.push({ tokens: tokens.subarray(start, start + maxLength), targets: part });
  }
  return all;
}

/** An example of at most `maxLength` tokens; undefined where the policy leaves it out. */
function fit(
  example: Example & Partial<Pick<EncodedDialogue, "turnEnds">>,
  maxLength: number,
  policy: LengthPolicy,
): Example | undefined {
  const { tokens, targets, turnEnds = [] } = example;
  if (tokens.length <= maxLength) return example;
  const length =
    policy === "drop" ? undefined : policy === "cut" ? maxLength : turnEnds.findLast((end) => end <= maxLength);
  return length === undefined ? undefined : { tokens: tokens.slice(0, length), targets: targets.slice(0, length) };
}
