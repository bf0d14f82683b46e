// What a model will take of memory and how fast it should run, from its header alone, before anything is loaded.
// load.ts keeps to the same plan, so that what is shown is what happens.
import { statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { openGguf } from "../formats/gguf.ts";
import { openCheckpointTensors } from "../formats/safetensors.ts";
import {
  loadKernels,
  machine,
  measurePeak,
  pageTokens,
  type Kernels,
  type KvType,
  type PeakKind,
} from "../kernels/index.ts";
import {
  configFromGguf,
  countActiveParameters,
  countParameters,
  ggufFileOf,
  hasSafetensors,
  ggufBytesInMemory,
  maximumPositions,
  readConfig,
  readLlama2cConfig,
  type DecoderConfig,
} from "../model/index.ts";
import { Failure } from "../protocol/index.ts";
import { bytesPerToken, pagesFor } from "./cache.ts";

export interface PlanOptions {
  /** Numbers of the key-value cache. Default "f16". */
  kvCache?: KvType;
  /** Longest prompt plus completion, in tokens. Default: what the model was made for, as far as memory allows. */
  maxContext?: number;
  /** A smaller model that guesses for this one; its weights and its cache count too. */
  draft?: string;
  /** Whose layout of packed weights counts. Default "native". */
  kernels?: Kernels["name"];
  /** Bytes that may be used. Default: nine tenths of what the system has available. */
  memoryBytes?: number;
}

export interface ModelPlan {
  /** The last part of the path. */
  name: string;
  family: string;
  parameters: number;
  weightBytes: number;
  /** Whether the weights' size was read from files, or reckoned from the config alone. */
  weightsFound: boolean;
  kvCache: KvType;
  kvBytesPerToken: number;
  memoryBytes: number;
  /** Tokens that the model was made for, and the most that its rotation can be stretched to. */
  modelContext: number;
  stretchedContext: number;
  /** Longest prompt plus completion that will be served; 0 where the model does not fit. */
  context: number;
  /** The longest sequence that the memory holds beside the weights. */
  memoryContext: number;
  /** Tokens that the cache will hold, in pages of 64, and their bytes. */
  pages: number;
  cacheBytes: number;
  /** Sequences of full length that run at once. */
  concurrency: number;
  /** Why it does not fit and what would make it; undefined where it fits. */
  refusal: { message: string; hint: string } | undefined;
}

export interface SpeedPlan {
  threads: number;
  /** Measured: GB/s read from memory, and GOP/s of the products that the weights take (int8, or float32). */
  memoryGigabytes: number;
  gigaOperations: number;
  /** Expected tokens a second: of a prompt, and of one answer, at a short context. */
  promptTokens: number;
  decodeTokens: number;
}

/** Of the memory that is available, weights and cache take no more than this share. */
const memoryShare = 0.9;
/** The cache holds this much where there is room, or one sequence of full length where that is more. */
const usualCacheBytes = 2 ** 30;
/** Sequences of full length for which there is room, at most. */
const maxFullSequences = 64;
/** What prompts reach of the measured peak of products, and answers of the measured bandwidth. */
const promptShare = 0.55;
const decodeShare = 0.75;
const bytesOfHalf = 2;
/** Of 4-bit weights with their scales. */
const bytesOfFourBits = 4.5 / 8;
const kvTypes = ["f32", "f16", "bf16", "int8", "int4"] as const satisfies KvType[];

interface Description {
  config: DecoderConfig;
  weightBytes: number;
  weightsFound: boolean;
  /** What the products of its weights run on. */
  peak: PeakKind;
}

/**
 * The plan for a checkpoint directory (a config.json alone will do), a .gguf file or a .bin file of llama2.c.
 * Throws Failure("input") for what cannot be read, Failure("usage") for a context that the model does not have; that it
 * does not fit is said in `refusal`.
 */
export function planModel(path: string, options: PlanOptions = {}): ModelPlan {
  const { config, weightBytes: ownBytes, weightsFound } = describe(path, options.kernels);
  const draft = options.draft === undefined ? undefined : describe(options.draft, options.kernels);
  const weightBytes = ownBytes + (draft?.weightBytes ?? 0);
  const { kvCache = "f16", maxContext } = options;
  if (!kvTypes.includes(kvCache)) {
    throw new Failure("usage", `There is no cache of ${kvCache}; there are ${kvTypes.join(", ")}.`);
  }
  const memoryBytes = options.memoryBytes ?? Math.floor(process.availableMemory() * memoryShare);
  const stretchedContext = maximumPositions(config);
  // YaRN models were trained on the length that they are stretched to; others get worse beyond the one they were trained on.
  const modelContext = config.ropeScaling?.type === "yarn" ? stretchedContext : config.maxPositions;
  if (
    maxContext !== undefined &&
    !(Number.isSafeInteger(maxContext) && maxContext >= 1 && maxContext <= stretchedContext)
  ) {
    throw new Failure(
      "usage",
      `A context of ${maxContext} tokens was asked for; this model takes between 1 and ${stretchedContext}.`,
      "Ask for a shorter context, or leave it out.",
    );
  }
  const shapes = draft ? [config, draft.config] : [config];
  const perToken = kvBytes(shapes, kvCache);
  const left = memoryBytes - weightBytes;
  const memoryContext = Math.max(0, Math.floor(left / (perToken * pageTokens)) * pageTokens);
  const context = Math.min(maxContext ?? modelContext, memoryContext);
  const plan: ModelPlan = {
    name: basename(resolve(path)),
    family: config.family,
    parameters: countParameters(config),
    weightBytes,
    weightsFound,
    kvCache,
    kvBytesPerToken: perToken,
    memoryBytes,
    modelContext,
    stretchedContext,
    context,
    memoryContext,
    pages: 0,
    cacheBytes: 0,
    concurrency: 0,
    refusal: undefined,
  };
  if (context === 0 || (maxContext !== undefined && context < maxContext)) {
    return { ...plan, context: 0, refusal: refuse(shapes, plan, maxContext) };
  }
  const tokens = Math.min(
    context * maxFullSequences,
    Math.max(context, Math.floor(Math.min(usualCacheBytes, left / 2) / perToken)),
  );
  const pages = pagesFor(tokens);
  return {
    ...plan,
    pages,
    cacheBytes: pages * pageTokens * perToken,
    concurrency: Math.floor(pages / pagesFor(context)),
  };
}

function kvBytes(shapes: readonly DecoderConfig[], type: KvType): number {
  return shapes.reduce((sum, shape) => sum + bytesPerToken(shape, type), 0);
}

/** Why a model does not fit, and the least change that would make it. */
function refuse(
  shapes: readonly DecoderConfig[],
  { weightBytes, kvCache, kvBytesPerToken, memoryBytes, memoryContext, parameters }: ModelPlan,
  maxContext: number | undefined,
): { message: string; hint: string } {
  const available = `${formatBytes(memoryBytes)} of memory may be used`;
  if (memoryContext === 0) {
    const fewer = parameters * bytesOfFourBits;
    return {
      message: `The weights take ${formatBytes(weightBytes)} and the cache ${formatBytes(kvBytesPerToken * pageTokens)} at the least; ${available}.`,
      hint:
        fewer < Math.min(memoryBytes, 0.9 * weightBytes)
          ? `Quantized to 4 bits the weights would take ${formatBytes(fewer)} (lianlu quantize).`
          : "Free memory, or use a smaller model.",
    };
  }
  const wanted = maxContext!;
  const smaller = kvTypes
    .map((type) => ({ type, bytes: kvBytes(shapes, type) * wanted }))
    .filter(({ bytes }) => bytes < kvBytesPerToken * wanted && bytes <= memoryBytes - weightBytes);
  const shorter = `a context of ${memoryContext} tokens fits`;
  return {
    message:
      `A context of ${wanted} tokens needs ${formatBytes(wanted * kvBytesPerToken)} of ${kvCache} cache ` +
      `beside ${formatBytes(weightBytes)} of weights; ${available}.`,
    hint:
      smaller.length > 0
        ? `With a cache of ${smaller[0]!.type} it would take ${formatBytes(smaller[0]!.bytes)}; with ${kvCache}, ${shorter}.`
        : `With ${kvCache}, ${shorter}.`,
  };
}

/** Throws the refusal of a plan as Failure("environment"). */
export function checkPlan({ name, refusal }: ModelPlan): void {
  if (refusal) throw new Failure("environment", `${name} does not fit. ${refusal.message}`, refusal.hint);
}

const peaks = new Map<string, number>();

/** How fast a model should run on this machine, whose speed is measured once in a process, in less than a second. */
export function planSpeed(path: string, threads = machine().threads): SpeedPlan {
  const { config, weightBytes, peak } = describe(path);
  const memoryGigabytes = peakOf("memory", threads);
  const gigaOperations = peakOf(peak, threads);
  const parameters = countParameters(config);
  // A step reads everything but the table of the embedding, of which it looks up lines, and experts that it does not use.
  const active = countActiveParameters(config) - (config.tieEmbeddings ? 0 : config.vocabSize * config.hiddenSize);
  const layers = active - config.vocabSize * config.hiddenSize;
  const activeBytes = (weightBytes * active) / parameters;
  return {
    threads,
    memoryGigabytes,
    gigaOperations,
    promptTokens: (promptShare * gigaOperations * 1e9) / (2 * layers),
    decodeTokens: Math.min(
      (decodeShare * memoryGigabytes * 1e9) / activeBytes,
      (promptShare * gigaOperations * 1e9) / (2 * active),
    ),
  };
}

function peakOf(kind: PeakKind, threads: number): number {
  const key = `${kind} ${threads}`;
  let peak = peaks.get(key);
  if (peak === undefined) peaks.set(key, (peak = measurePeak(kind, threads)));
  return peak;
}

function describe(path: string, kernels: Kernels["name"] = "native"): Description {
  const gguf = ggufFileOf(path);
  if (gguf !== undefined) {
    const file = openGguf(gguf);
    try {
      const types = [...file.tensors.values()].map(({ type }) => type);
      const peak = types.some((type) => !floatTypes.has(type)) ? "int8" : "f32";
      const weightBytes = ggufBytesInMemory(file, loadKernels(kernels));
      return { config: configFromGguf(file), weightBytes, weightsFound: true, peak };
    } finally {
      file.close();
    }
  }
  const stat = statSync(path);
  if (stat.isFile()) {
    return { config: readLlama2cConfig(path), weightBytes: stat.size, weightsFound: true, peak: "f32" };
  }
  const config = readConfig(path);
  if (!hasSafetensors(path)) {
    return { config, weightBytes: countParameters(config) * bytesOfHalf, weightsFound: false, peak: "f32" };
  }
  const source = openCheckpointTensors(path);
  try {
    let weightBytes = 0;
    let packed = false;
    for (const { begin, end, dtype } of source.tensors.values()) {
      weightBytes += end - begin;
      packed ||= dtype === "I32";
    }
    return { config, weightBytes, weightsFound: true, peak: packed ? "int8" : "f32" };
  } finally {
    source.close();
  }
}

const floatTypes = new Set<string>(["F32", "F16", "BF16"]);

/** In the largest unit of which there is one, with two decimals. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  return unit === 0 ? `${bytes} bytes` : `${(bytes / 1024 ** unit).toFixed(unit > 2 ? 2 : 1)} ${units[unit]}`;
}
