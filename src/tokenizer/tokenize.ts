// The tokenize stage: documents to tokens/, with a tokenizer that is trained on them or given.
// Where the documents come from is the caller's business.
import { createHash } from "node:crypto";
import { copyFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { beginArtifact, environmentFailure, hashInput } from "../formats/manifest.ts";
import type { Manifest, ManifestInput } from "../formats/manifest.ts";
import { createTokenWriter } from "../formats/token-shards.ts";
import type { Split, TokenWriter } from "../formats/token-shards.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { findTokenizerFile, LLAMA2C_NAME, loadTokenizer } from "./load.ts";
import { TOKENIZER_CONFIG_NAME } from "./tokenizer-config.ts";
import { TOKENIZER_NAME } from "./tokenizer-json.ts";
import { saveTokenizer } from "./tokenizer-json-write.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { trainBpe } from "./train.ts";
import type { SplitName } from "./train.ts";

export interface TokenizeOptions {
  /** Gives the documents from the first on, each time it is called: once to train a tokenizer, once to encode. */
  documents: () => AsyncIterable<{ id: string; text: string }>;
  /** Directory to write. */
  out: string;
  /** A tokenizer to use: a directory, tokenizer.json or .bin; without one, one is trained. */
  tokenizer?: string;
  /** For training. Default 6000. */
  vocabSize?: number;
  /** For training. Default "auto". */
  split?: SplitName;
  /** Share of the documents that go to the validation split, in [0, 1). Default 0.02. */
  validationShare?: number;
  /** How many documents there are, for the time left. */
  totalDocuments?: number;
  /** What the documents come from, for the manifest. */
  input?: ManifestInput;
  signal?: AbortSignal;
}

export interface SplitMetrics {
  documents: number;
  tokens: number;
}

export interface TokenizeMetrics {
  vocabSize: number;
  tokenizerId: string;
  train: SplitMetrics;
  validation: SplitMetrics;
  /** Without BOS and EOS. Characters are Unicode code points. */
  charactersPerToken: number;
  bytesPerToken: number;
  tokensPerSecond: number;
}

const REPORT_EVERY_MS = 100;

/**
 * Writes tokens/: the tokenizer and the encoded documents, each as BOS, its ids, EOS (BOS where the tokenizer has one).
 * A document's split depends on its id alone.
 * Throws Failure: "usage" for wrong options, "input" for an empty corpus or a broken tokenizer, "environment" for the disk.
 */
export async function* tokenize(options: TokenizeOptions): Job<{ manifest: Manifest; metrics: TokenizeMetrics }> {
  const { out, vocabSize = 6000, split = "auto", validationShare = 0.02, totalDocuments, signal } = options;
  if (!(validationShare >= 0 && validationShare < 1)) {
    throw new Failure("usage", `a validation share of ${validationShare}`, "Give a share from 0 to below 1, as 0.02.");
  }
  // A tokenizer that cannot be used is found before anything is written.
  const given = options.tokenizer === undefined ? undefined : loadTokenizer(options.tokenizer);
  const artifact = beginArtifact(out, {
    kind: "tokens",
    inputs: {
      ...(options.input === undefined ? {} : { corpus: options.input }),
      ...(options.tokenizer === undefined ? {} : { tokenizer: await hashInput(findTokenizerFile(options.tokenizer)) }),
    },
    options: given === undefined ? { vocabSize, split, validationShare } : { validationShare },
    seed: 0,
  });
  let writers: Record<Split, TokenWriter> | undefined;
  try {
    let tokenizer: Tokenizer;
    if (given === undefined) {
      const data = yield* trainBpe(textsOf(options.documents()), {
        vocabSize,
        split,
        ...(totalDocuments === undefined ? {} : { totalTexts: totalDocuments }),
        ...(signal === undefined ? {} : { signal }),
      });
      saveTokenizer(artifact.partialDir, data);
      tokenizer = loadTokenizer(artifact.partialDir);
    } else {
      copyTokenizer(findTokenizerFile(options.tokenizer!), artifact.partialDir);
      tokenizer = given;
    }
    const shardOptions = { vocabSize: tokenizer.vocabSize, tokenizerId: tokenizer.id };
    writers = {
      train: createTokenWriter(artifact.partialDir, "train", shardOptions),
      validation: createTokenWriter(artifact.partialDir, "validation", shardOptions),
    };
    const metrics = yield* encodeDocuments(options.documents(), tokenizer, writers, {
      validationShare,
      totalDocuments,
      signal,
    });
    writers.train.close();
    writers.validation.close();
    return { manifest: await artifact.commit({ ...metrics }), metrics };
  } catch (error) {
    closeQuietly(writers);
    throw environmentFailure(error, out);
  } finally {
    artifact.discard();
  }
}

async function* encodeDocuments(
  documents: AsyncIterable<{ id: string; text: string }>,
  tokenizer: Tokenizer,
  writers: Record<Split, TokenWriter>,
  {
    validationShare,
    totalDocuments,
    signal,
  }: { validationShare: number; totalDocuments: number | undefined; signal: AbortSignal | undefined },
): Job<TokenizeMetrics> {
  const start = performance.now();
  let reported = start;
  let encodingMs = 0;
  let [done, tokens, characters, bytes] = [0, 0, 0, 0];
  for await (const { id, text } of documents) {
    const begin = performance.now();
    const ids = tokenizer.encode(text);
    encodingMs += performance.now() - begin;
    writers[splitOf(id, validationShare)].append(frame(ids, tokenizer));
    done++;
    tokens += ids.length;
    bytes += Buffer.byteLength(text);
    characters += countCharacters(text);
    if (performance.now() - reported > REPORT_EVERY_MS) {
      yield progress();
      await nextTurn();
      signal?.throwIfAborted();
      reported = performance.now();
    }
  }
  if (done === 0) throw new Failure("input", "the corpus has no documents", "Make one with `lianlu data`.");
  totalDocuments = done;
  yield progress();
  if (writers.train.documents === 0 || (writers.validation.documents === 0 && validationShare > 0)) {
    yield {
      type: "note",
      text: `of ${done} documents ${writers.validation.documents} are for validation and ${writers.train.documents} for training; with so few, another --validation-share helps`,
    };
  }
  const ofSplit = ({ documents: count, tokens: all }: TokenWriter) => ({ documents: count, tokens: all });
  return {
    vocabSize: tokenizer.vocabSize,
    tokenizerId: tokenizer.id,
    train: ofSplit(writers.train),
    validation: ofSplit(writers.validation),
    charactersPerToken: characters / Math.max(1, tokens),
    bytesPerToken: bytes / Math.max(1, tokens),
    tokensPerSecond: Math.round((tokens / Math.max(1e-3, encodingMs)) * 1000),
  };

  function progress() {
    return {
      type: "progress" as const,
      step: "encode",
      done,
      ...(totalDocuments === undefined ? {} : { total: totalDocuments }),
      unit: "documents",
      metrics: { tokensPerSecond: Math.round(tokens / Math.max(1e-3, (performance.now() - start) / 1000)) },
    };
  }
}

/** BOS, where the tokenizer has one, the ids, EOS. */
function frame(ids: Int32Array, { bosId, eosId }: Tokenizer): Int32Array {
  const start = bosId === undefined ? 0 : 1;
  const framed = new Int32Array(start + ids.length + 1);
  if (bosId !== undefined) framed[0] = bosId;
  framed.set(ids, start);
  framed[framed.length - 1] = eosId;
  return framed;
}

/** The split of a document: its id's hash, read as a number in [0, 1), is below the share or not. */
export function splitOf(documentId: string, validationShare: number): Split {
  const hash = createHash("sha256").update(documentId).digest();
  return hash.readUInt32BE(0) / 2 ** 32 < validationShare ? "validation" : "train";
}

function countCharacters(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length; index++) {
    // The second half of a surrogate pair is no character of its own.
    if ((text.charCodeAt(index) & 0xfc00) === 0xdc00) count--;
  }
  return count;
}

async function* textsOf(documents: AsyncIterable<{ text: string }>): AsyncGenerator<string> {
  for await (const { text } of documents) yield text;
}

function copyTokenizer(file: string, dir: string): void {
  if (file.endsWith(".bin")) return copyFileSync(file, join(dir, LLAMA2C_NAME));
  copyFileSync(file, join(dir, TOKENIZER_NAME));
  const config = join(dirname(file), TOKENIZER_CONFIG_NAME);
  if (existsSync(config)) copyFileSync(config, join(dir, TOKENIZER_CONFIG_NAME));
}

/** Frees the files after an error, which is what the caller hears of; a second one says no more. */
function closeQuietly(writers: Record<Split, TokenWriter> | undefined): void {
  for (const writer of Object.values(writers ?? {})) {
    try {
      writer.close();
    } catch {
      // The disk that failed once may fail again; DIR.partial is removed in any case.
    }
  }
}
