// From a path to a model that answers: a checkpoint, a quantized directory, a .gguf file or a .bin file of llama2.c.
// What it will take of memory is reckoned and said before the cache is made.
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { loadKernels, pageTokens, setThreads, type Kernels } from "../kernels/index.ts";
import {
  countParameters,
  loadAdapter,
  loadCheckpoint,
  loadGguf,
  packedLinear,
  replaceLinears,
  type Decoder,
  type Linear,
} from "../model/index.ts";
import { Failure, type ServedModel } from "../protocol/index.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/index.ts";
import { createAdapterRegistry } from "./adapters.ts";
import { bytesPerToken, pagesFor } from "./cache.ts";
import { createEngine } from "./engine.ts";
import { createRunner } from "./runner.ts";
import { loadInWorker } from "./worker.ts";

export interface LoadOptions {
  /** A PEFT adapter directory, put beside the model's layers. */
  adapter?: string;
  /** A tokenizer's directory or file. Default: the one beside the model. */
  tokenizer?: string;
  /** The model's name. Default: the last part of the path. */
  id?: string;
  /** Threads of the native kernels. Default LIANLU_THREADS, or all cores. */
  threads?: number;
  /** Longest prompt plus completion, in tokens. Default: what the model was made for, as far as memory allows. */
  maxContext?: number;
  kernels?: Kernels["name"];
  /** Runs the model in a thread of its own, so that this one's event loop stays alive. Default false. */
  worker?: boolean;
  /** Told what the model takes of memory, in one sentence. */
  onNote?: (text: string) => void;
  /** Told when the model's thread ends without having been closed: the model is lost. */
  onCrash?: (error: Error) => void;
}

/** The cache holds this much, or one sequence of full length where that is more. */
const cacheBytes = 256 * 2 ** 20;
/** Sequences of full length for which there is room, at most. */
const maxFullSequences = 8;
/** Of the memory that is available, the cache takes no more than this share. */
const memoryShare = 0.5;
/** Models pad their vocabulary to a round number; by more than this it is another model's. */
const maxPaddedIds = 1024;
const ggufName = "model.gguf";

/**
 * Loads a model for inference.
 * Throws Failure("input") for a checkpoint, adapter or tokenizer that is broken or does not fit, Failure("usage") for
 * options that cannot be met, Failure("environment") where the native core is not built.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<ServedModel> {
  if (options.worker) return loadInWorker(path, options);
  if (options.threads !== undefined) setThreads(options.threads);
  const kernels = loadKernels(options.kernels);
  const { decoder, weightBytes } = openDecoder(path, kernels);
  const { config } = decoder;
  const tokenizer = loadTokenizer(options.tokenizer ?? (isDirectory(path) ? path : dirname(path)));
  checkTokenizer(tokenizer, config.vocabSize, path);
  packLinears(decoder, kernels);
  if (options.adapter !== undefined) loadAdapter(kernels, decoder, options.adapter);
  const adapters = createAdapterRegistry(kernels, decoder);

  const perToken = bytesPerToken(config);
  const { context, pages } = planCache(config.maxPositions, perToken, options.maxContext);
  options.onNote?.(
    `${basename(resolve(path))}: weights ${megabytes(weightBytes)}, cache ${megabytes(pages * pageTokens * perToken)} ` +
      `(${kilobytes(perToken)} a token, ${pages * pageTokens} tokens), context ${context} of ${config.maxPositions}.`,
  );
  return createEngine({
    id: options.id ?? basename(resolve(path)),
    runner: createRunner(kernels, decoder, pages, { adapters }),
    adapters,
    weightBytes,
    tokenizer,
    maxPositions: context,
  });
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function openDecoder(path: string, kernels: Kernels): { decoder: Decoder; weightBytes: number } {
  const gguf = path.endsWith(".gguf") ? path : join(path, ggufName);
  if (existsSync(gguf)) {
    const decoder = loadGguf(gguf, kernels);
    return { decoder, weightBytes: statSync(gguf).size + decoder.embedding.bytes };
  }
  const decoder = loadCheckpoint(path, kernels);
  return { decoder, weightBytes: countParameters(decoder.config) * Float32Array.BYTES_PER_ELEMENT };
}

/** Replaces dense weights by packed ones; the results are equal to the bit, and faster for few rows. */
function packLinears(decoder: Decoder, kernels: Kernels): void {
  const pack = (linear: Linear): Linear =>
    linear.weight
      ? packedLinear(linear.name, kernels.packWeight(linear.weight.data, linear.outputs, linear.inputs), linear.bias)
      : linear;
  replaceLinears(decoder, pack);
  decoder.head = pack(decoder.head);
}

function checkTokenizer(tokenizer: Tokenizer, vocabSize: number, path: string): void {
  const { vocabSize: ids } = tokenizer;
  if (ids <= vocabSize && vocabSize - ids <= maxPaddedIds) return;
  throw new Failure(
    "input",
    `${path}: the tokenizer has ${ids} ids and the model ${vocabSize}, so they do not belong together.`,
    "Restore the tokenizer that the checkpoint was trained with.",
  );
}

/** How long a sequence may be and how many pages there are. */
function planCache(
  maxPositions: number,
  perToken: number,
  maxContext: number | undefined,
): { context: number; pages: number } {
  if (maxContext !== undefined && (maxContext < 1 || maxContext > maxPositions)) {
    throw new Failure(
      "usage",
      `A context of ${maxContext} tokens was asked for; this model takes between 1 and ${maxPositions}.`,
      "Ask for a shorter context, or leave it out.",
    );
  }
  const affordable = Math.floor((process.availableMemory() * memoryShare) / perToken);
  if (maxContext !== undefined && maxContext > affordable) {
    throw new Failure(
      "environment",
      `A context of ${maxContext} tokens needs ${megabytes(maxContext * perToken)} of cache, and memory allows ${affordable} tokens.`,
      "Ask for a shorter context, or free memory.",
    );
  }
  if (affordable < 1) throw new Failure("environment", "There is no memory left for the cache.", "Free memory.");
  const context = Math.min(maxContext ?? maxPositions, affordable);
  const tokens = Math.min(context * maxFullSequences, Math.max(context, Math.floor(cacheBytes / perToken)), affordable);
  return { context, pages: pagesFor(tokens) };
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function kilobytes(bytes: number): string {
  return `${(bytes / 2 ** 10).toFixed(1)} KiB`;
}
