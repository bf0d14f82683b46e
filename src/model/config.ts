// The shape of a decoder, whatever family's config.json it came from.
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";

export interface DecoderConfig {
  /** A file in families/. */
  family: string;
  vocabSize: number;
  hiddenSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediateSize: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** Longest sequence, in tokens. */
  maxPositions: number;
  /** The output layer is the embedding table. */
  tieEmbeddings: boolean;
  bosTokenId: number;
  eosTokenIds: number[];
  padTokenId: number;
  /** Standard deviation of fresh weights. */
  initializerRange: number;
}

// Upper limits: a config is untrusted, and sizes are multiplied before anything is allocated.
const dimension = z
  .int()
  .min(1)
  .max(1 << 20);

/** The fields that the Llama-like families of Hugging Face share. */
const sharedConfigSchema = z.looseObject({
  vocab_size: z
    .int()
    .min(1)
    .max(1 << 22),
  hidden_size: dimension,
  num_hidden_layers: z.int().min(1).max(1024),
  num_attention_heads: z.int().min(1).max(1024),
  num_key_value_heads: z.int().min(1).max(1024).optional(),
  head_dim: z.int().min(2).max(256).nullish(),
  intermediate_size: dimension,
  rms_norm_eps: z.number().positive().max(0.1),
  rope_theta: z.number().positive().optional(),
  rope_scaling: z.looseObject({}).nullish(),
  max_position_embeddings: z
    .int()
    .min(1)
    .max(1 << 26),
  tie_word_embeddings: z.boolean().optional(),
  hidden_act: z.string().optional(),
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int()).min(1)]).nullish(),
  pad_token_id: z.int().nullish(),
  initializer_range: z.number().positive().optional(),
});

/** Scalings that change nothing up to max_position_embeddings, which is as far as a decoder goes here. */
const dormantScalings: ReadonlySet<string> = new Set(["default", "dynamic"]);

/** Reads the shared fields; `path` names the file in errors. */
export function parseSharedConfig(family: string, json: unknown, path: string): DecoderConfig {
  const parsed = sharedConfigSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Failure(
      "input",
      `${path}: field ${issue!.path.join(".") || "(root)"} is not as a ${family} config has it: ${issue!.message}`,
      "Compare it with the config.json of a published checkpoint of this family.",
    );
  }
  const raw = parsed.data;
  const heads = raw.num_attention_heads;
  const kvHeads = raw.num_key_value_heads ?? heads;
  const headDim = raw.head_dim ?? raw.hidden_size / heads;
  const scaling = raw.rope_scaling?.rope_type ?? raw.rope_scaling?.type;
  const problem =
    heads % kvHeads !== 0
      ? `num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}`
      : !Number.isInteger(headDim) || headDim % 2 !== 0
        ? `hidden_size ${raw.hidden_size} over num_attention_heads ${heads} gives head_dim ${headDim}, and rope needs an even integer`
        : raw.hidden_act !== undefined && raw.hidden_act !== "silu"
          ? `hidden_act is "${raw.hidden_act}", and only "silu" is known`
          : scaling !== undefined && !dormantScalings.has(String(scaling))
            ? `rope_scaling of type "${String(scaling)}" is not known; null and "dynamic" are`
            : undefined;
  if (problem)
    throw new Failure("input", `${path}: ${problem}.`, "The config does not describe a model that can be built.");
  const eos = raw.eos_token_id ?? 2;
  return {
    family,
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    layers: raw.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    intermediateSize: raw.intermediate_size,
    rmsNormEps: raw.rms_norm_eps,
    ropeTheta: raw.rope_theta ?? 10000,
    maxPositions: raw.max_position_embeddings,
    tieEmbeddings: raw.tie_word_embeddings ?? false,
    bosTokenId: raw.bos_token_id ?? 1,
    eosTokenIds: typeof eos === "number" ? [eos] : eos,
    padTokenId: raw.pad_token_id ?? (typeof eos === "number" ? eos : eos[0]!),
    initializerRange: raw.initializer_range ?? 0.02,
  };
}

/** The shared fields as Hugging Face writes them. */
export function formatSharedConfig(config: DecoderConfig): Record<string, unknown> {
  return {
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenIds.length === 1 ? config.eosTokenIds[0] : config.eosTokenIds,
    pad_token_id: config.padTokenId,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositions,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: null,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieEmbeddings,
    torch_dtype: "float32",
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** Weights of a decoder of this shape; the embedding counts once where it is tied. */
export function countParameters(config: DecoderConfig): number {
  const { hiddenSize, headDim, heads, kvHeads, intermediateSize } = config;
  const attention = hiddenSize * headDim * (2 * heads + 2 * kvHeads);
  const layer = attention + 3 * hiddenSize * intermediateSize + 2 * hiddenSize;
  return config.vocabSize * hiddenSize * (config.tieEmbeddings ? 1 : 2) + config.layers * layer + hiddenSize;
}
