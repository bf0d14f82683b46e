// A decoder's shape as the metadata of a GGUF file, both ways, under the keys that llama.cpp reads.
import type { GgufFile, GgufValue } from "../formats/gguf.ts";
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import { familyOf } from "./family.ts";
import { type RopeScaling, ropeFrequencies, yarnMagnitude } from "./layers/rope-scaling.ts";

/** The family that a file of this architecture opens as. Llama's stands for all that are Llamas by another name. */
const familyOfArchitecture: Readonly<Record<string, string>> = {
  llama: "llama",
  internlm2: "llama",
  qwen2: "qwen2",
  qwen3: "qwen3",
};

/** Divisors of rope frequencies, as llama.cpp names them. */
export const ropeFactorsName = "rope_freqs.weight";
/** llama.cpp has no key for dynamic scaling; it passes over this one. */
const dynamicFactorKey = "lianlu.rope.dynamic_factor";

/** The family that a decoder of this shape is of once it was written to a GGUF file. */
export function ggufFamilyOf(config: DecoderConfig): string {
  return familyOfArchitecture[familyOf(config.family).gguf.architecture]!;
}

/** The metadata that describes a decoder's shape; tokenizer and names are for the caller to add. */
export function configToGguf(config: DecoderConfig): Map<string, GgufValue> {
  const { architecture } = familyOf(config.family).gguf;
  const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
  const float32 = (value: number): GgufValue => ({ type: "float32", value });
  const shape: [key: string, value: GgufValue][] = [
    ["vocab_size", uint32(config.vocabSize)],
    ["context_length", uint32(config.maxPositions)],
    ["embedding_length", uint32(config.hiddenSize)],
    ["block_count", uint32(config.layers)],
    ["feed_forward_length", uint32(config.intermediateSize)],
    ["attention.head_count", uint32(config.heads)],
    ["attention.head_count_kv", uint32(config.kvHeads)],
    ["attention.key_length", uint32(config.headDim)],
    ["attention.value_length", uint32(config.headDim)],
    ["attention.layer_norm_rms_epsilon", float32(config.rmsNormEps)],
    ["rope.dimension_count", uint32(config.headDim)],
    ["rope.freq_base", float32(config.ropeTheta)],
  ];
  const { ropeScaling: scaling, slidingWindows: windows } = config;
  if (scaling?.type === "linear" || scaling?.type === "yarn") {
    shape.push(["rope.scaling.type", { type: "string", value: scaling.type }]);
    shape.push(["rope.scaling.factor", float32(scaling.factor)]);
  }
  if (scaling?.type === "yarn") {
    if (!scaling.truncate) {
      throw new Failure("input", "YaRN without truncation has no key in GGUF.", "Keep the model as safetensors.");
    }
    shape.push(
      ["rope.scaling.original_context_length", uint32(scaling.originalPositions)],
      ["rope.scaling.attn_factor", float32(scaling.attentionFactor / yarnMagnitude(scaling.factor))],
      ["rope.scaling.yarn_beta_fast", float32(scaling.betaFast)],
      ["rope.scaling.yarn_beta_slow", float32(scaling.betaSlow)],
    );
  }
  if (windows) {
    shape.push(["attention.sliding_window", uint32(Math.max(...windows))]);
    if (windows.includes(0)) {
      const value = windows.map((window) => window > 0);
      shape.push(["attention.sliding_window_pattern", { type: "array", items: "bool", value }]);
    }
  }
  return new Map([
    ["general.architecture", { type: "string", value: architecture }],
    ...shape.map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...(scaling?.type === "dynamic" ? ([[dynamicFactorKey, float32(scaling.factor)]] as const) : []),
  ]);
}

/** Tensors of a file that no checkpoint has: the divisors of rope frequencies of scalings without a key, as float32. */
export function ggufExtraTensors(
  config: DecoderConfig,
): { name: string; shape: readonly number[]; data: Float32Array }[] {
  if (config.ropeScaling?.type !== "llama3" && config.ropeScaling?.type !== "factors") return [];
  const data = Float32Array.from(ropeDivisors(config));
  return [{ name: ropeFactorsName, shape: [data.length], data }];
}

function ropeDivisors(config: DecoderConfig): Float64Array {
  const scaled = ropeFrequencies(config, config.ropeTheta);
  return scaled.map((frequency, i) => config.ropeTheta ** ((-2 * i) / config.headDim) / frequency);
}

/** The config of a file; refuses what the decoder would compute differently. */
export function configFromGguf(file: GgufFile): DecoderConfig {
  const { path, metadata, tensors } = file;
  const architecture = metadata.get("general.architecture")?.value;
  const family = typeof architecture === "string" ? familyOfArchitecture[architecture] : undefined;
  if (family === undefined) {
    throw new Failure(
      "input",
      `${path} has architecture ${JSON.stringify(architecture ?? null)}, and ${Object.keys(familyOfArchitecture).join(", ")} are known.`,
      "Use a model of one of these architectures; Mistral and InternLM3 are written as llama.",
    );
  }
  const keys = keyReader(file, String(architecture));
  const { count, optional } = keys;
  const hiddenSize = count("embedding_length", 1 << 20);
  const layers = count("block_count", 1024);
  const heads = count("attention.head_count", 1024);
  const kvHeads = count("attention.head_count_kv", 1024, heads);
  const headDim = count("attention.key_length", 256, hiddenSize / heads);
  const experts = optional("expert_count", 0, 1 << 16) ?? 0;
  const problem =
    heads % kvHeads !== 0
      ? `${heads} heads do not share ${kvHeads} key heads evenly`
      : headDim % 2 !== 0 ||
          count("attention.value_length", 256, headDim) !== headDim ||
          count("rope.dimension_count", 256, headDim) !== headDim
        ? `heads of ${headDim} numbers that are rotated in part, or whose values have another length, are not known`
        : experts > 1
          ? `it has ${experts} experts, and mixtures of experts are not known`
          : undefined;
  if (problem) throw new Failure("input", `${path}: ${problem}.`, "Use a plain model of this architecture.");

  const tokenId = (name: string) => keys.number(`tokenizer.ggml.${name}_token_id`, 0, 1 << 22);
  const eos = tokenId("eos") ?? 2;
  const endOfTurn = tokenId("eot");
  const windows = windowsFromGguf(file, keys, layers);
  const has = (name: string) => tensors.has(`blk.0.${name}`);
  const config: DecoderConfig = {
    family,
    vocabSize: count("vocab_size", 1 << 22, tensors.get("token_embd.weight")?.shape[0]),
    hiddenSize,
    layers,
    heads,
    kvHeads,
    headDim,
    intermediateSize: count("feed_forward_length", 1 << 20),
    rmsNormEps: optional("attention.layer_norm_rms_epsilon", 1e-12, 0.1) ?? 1e-5,
    ropeTheta: optional("rope.freq_base", 1, 1e12) ?? 10000,
    maxPositions: count("context_length", 1 << 26),
    ...(has("attn_q.bias") && { qkvBias: true }),
    ...(has("attn_output.bias") && { outputBias: true }),
    ...(has("ffn_gate.bias") && { feedForwardBias: true }),
    ...(has("attn_q_norm.weight") && { qkNorm: true }),
    ...(windows && { slidingWindows: windows }),
    tieEmbeddings: !tensors.has("output.weight"),
    bosTokenId: tokenId("bos") ?? 1,
    eosTokenIds: endOfTurn === undefined || endOfTurn === eos ? [eos] : [eos, endOfTurn],
    padTokenId: tokenId("padding") ?? eos,
    initializerRange: 0.02,
  };
  const ropeScaling = scalingFromGguf(file, keys, config);
  return ropeScaling ? { ...config, ropeScaling } : config;
}

/** What llama.cpp computes otherwise than the decoder, as sentences: what it passes over or does not load. */
export function ggufDifferences({ family, slidingWindows, ropeScaling, qkNorm, qkvBias }: DecoderConfig): string[] {
  const differences: string[] = [];
  if (slidingWindows) {
    differences.push(
      `llama.cpp lets every row of a ${family} see the whole context, and this model's rows see ${Math.max(...slidingWindows)} positions: texts that are longer come out differently.`,
    );
  }
  if (ropeScaling?.type === "dynamic") {
    differences.push("llama.cpp has no dynamic rope scaling: past the model's positions it computes differently.");
  }
  if (qkNorm && qkvBias) differences.push(`llama.cpp does not load a ${family} with biases.`);
  return differences;
}

interface KeyReader {
  /** A number within bounds, or undefined where the key is missing. */
  number(key: string, least: number, most: number): number | undefined;
  /** The same, of the architecture's keys. */
  optional(key: string, least: number, most: number): number | undefined;
  /** A whole number from 1, or what is said otherwise. */
  count(key: string, most: number, otherwise?: number): number;
  value(key: string): GgufValue | undefined;
}

function keyReader({ path, metadata }: GgufFile, architecture: string): KeyReader {
  const number = (key: string, least: number, most: number): number | undefined => {
    const value = metadata.get(key)?.value;
    if (value === undefined) return undefined;
    const read = Number(value);
    if (typeof value === "object" || !(read >= least && read <= most)) {
      throw new Failure(
        "input",
        `${path}: key ${key} is not a number from ${least} to ${most}.`,
        "Is the file damaged?",
      );
    }
    return read;
  };
  const optional = (key: string, least: number, most: number) => number(`${architecture}.${key}`, least, most);
  return {
    number,
    optional,
    value: (key) => metadata.get(`${architecture}.${key}`),
    count(key, most, otherwise) {
      const value = optional(key, 1, most) ?? otherwise;
      if (value === undefined) {
        throw new Failure(
          "input",
          `${path}: key ${architecture}.${key} is missing.`,
          "The file does not describe a model.",
        );
      }
      if (!Number.isInteger(value)) {
        throw new Failure("input", `${path}: key ${architecture}.${key} is ${value}, expected an integer.`);
      }
      return value;
    },
  };
}

function windowsFromGguf({ path }: GgufFile, keys: KeyReader, layers: number): number[] | undefined {
  const window = keys.optional("attention.sliding_window", 0, 1 << 26) ?? 0;
  if (window === 0) return undefined;
  const pattern = keys.value("attention.sliding_window_pattern");
  if (pattern === undefined) return Array.from({ length: layers }, () => window);
  const slides = pattern.type === "array" && pattern.items === "bool" ? pattern.value : undefined;
  if (slides?.length !== layers) {
    throw new Failure(
      "input",
      `${path}: the key attention.sliding_window_pattern is not one bool for each of ${layers} layers.`,
      "Other patterns are not known.",
    );
  }
  return slides.map((slide) => (slide === true ? window : 0));
}

/** llama.cpp's scalings: by keys, or by a tensor of divisors. */
function scalingFromGguf(file: GgufFile, keys: KeyReader, config: DecoderConfig): RopeScaling | undefined {
  const type = keys.value("rope.scaling.type")?.value ?? "none";
  const divisors = file.tensors.get(ropeFactorsName);
  if (divisors) {
    if (divisors.shape.length !== 1 || divisors.shape[0] !== config.headDim / 2 || type !== "none") {
      throw new Failure(
        "input",
        `${file.path}: ${ropeFactorsName} is [${divisors.shape.join(", ")}] beside rope scaling ${JSON.stringify(type)}, expected [${config.headDim / 2}] alone.`,
        "Use a plain model of this architecture.",
      );
    }
    return nameOfDivisors([...file.floats(ropeFactorsName)], config);
  }
  // The linear factor was its own key once.
  const factor = () =>
    keys.optional("rope.scaling.factor", 1e-6, 1e6) ?? keys.optional("rope.scale_linear", 1e-6, 1e6) ?? 1;
  switch (type) {
    case "none": {
      const dynamic = keys.number(dynamicFactorKey, 1e-6, 1e6);
      return dynamic === undefined ? undefined : { type: "dynamic", factor: dynamic };
    }
    case "linear":
      return { type: "linear", factor: factor() };
    case "yarn":
      return {
        type: "yarn",
        factor: factor(),
        originalPositions: keys.count("rope.scaling.original_context_length", 1 << 26, config.maxPositions),
        betaFast: keys.optional("rope.scaling.yarn_beta_fast", 1e-6, 1e6) ?? 32,
        betaSlow: keys.optional("rope.scaling.yarn_beta_slow", 1e-6, 1e6) ?? 1,
        attentionFactor: (keys.optional("rope.scaling.attn_factor", 1e-6, 1e6) ?? 1) * yarnMagnitude(factor()),
        truncate: true,
      };
    default:
      throw new Failure(
        "input",
        `${file.path}: rope scaling ${JSON.stringify(type)} is not known; none, linear and yarn are.`,
        "Use a plain model of this architecture.",
      );
  }
}

/** Llama 3.1's own scaling where the divisors are those of its published numbers, so that a config.json can say it. */
function nameOfDivisors(factors: number[], config: DecoderConfig): RopeScaling {
  const llama3: RopeScaling = {
    type: "llama3",
    factor: Math.max(...factors),
    lowFrequency: 1,
    highFrequency: 4,
    originalPositions: 8192,
  };
  const published = ropeDivisors({ ...config, ropeScaling: llama3 });
  const equal = factors.every((factor, i) => Math.abs(factor - published[i]!) <= 1e-5 * published[i]!);
  if (equal) return llama3;
  const bad = factors.find((factor) => !(factor > 0 && factor < 1e6));
  if (bad !== undefined) {
    throw new Failure("input", `${ropeFactorsName} holds ${bad}, expected divisors above 0.`, "Is the file damaged?");
  }
  return { type: "factors", factors };
}
