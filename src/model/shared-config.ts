// The fields of config.json that the Llama-like families share. What differs is said by the files in families/.
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import { formatRopeScaling, parseRope, ropeFields } from "./rope-config.ts";

// Upper limits: a config is untrusted, and sizes are multiplied before anything is allocated.
const dimension = z
  .int()
  .min(1)
  .max(1 << 20);
const flag = z.boolean().nullish();

const sharedConfigSchema = z.looseObject({
  vocab_size: z
    .int()
    .min(1)
    .max(1 << 22),
  hidden_size: dimension,
  num_hidden_layers: z.int().min(1).max(1024),
  num_attention_heads: z.int().min(1).max(1024),
  num_key_value_heads: z.int().min(1).max(1024).nullish(),
  head_dim: z.int().min(2).max(256).nullish(),
  intermediate_size: dimension,
  rms_norm_eps: z.number().positive().max(0.1),
  ...ropeFields,
  max_position_embeddings: z
    .int()
    .min(1)
    .max(1 << 26),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  bias: flag,
  qkv_bias: flag,
  attention_bias: flag,
  mlp_bias: flag,
  use_sliding_window: flag,
  sliding_window: z.int().min(0).nullish(),
  max_window_layers: z.int().min(0).nullish(),
  layer_types: z.array(z.string()).nullish(),
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int()).min(1)]).nullish(),
  pad_token_id: z.int().nullish(),
  initializer_range: z.number().positive().nullish(),
  num_experts: z.int().max(4096).nullish(),
  num_local_experts: z.int().max(4096).nullish(),
  num_experts_per_tok: z.int().min(1).max(4096).nullish(),
  moe_intermediate_size: dimension.nullish(),
  norm_topk_prob: flag,
  router_aux_loss_coef: z.number().min(0).nullish(),
  decoder_sparse_step: z.int().min(1).nullish(),
  mlp_only_layers: z.array(z.int()).nullish(),
});

export type SharedConfig = z.infer<typeof sharedConfigSchema>;

/** What the shared fields leave open, as a family reads it from them. */
export type FamilyDifferences = Partial<
  Pick<DecoderConfig, "qkvBias" | "outputBias" | "feedForwardBias" | "qkNorm" | "experts"> & {
    /** Where config.json has no head_dim; default hidden_size / num_attention_heads. */
    headDim: number;
    /** Positions that rows of sliding layers see; absent: there are none. */
    window: number;
    /** Which layers slide; default all. */
    slides: (layer: number) => boolean;
  }
>;

/** Reads a config.json; `path` names the file in errors. */
export function parseSharedConfig(
  family: string,
  json: unknown,
  path: string,
  differences: (raw: SharedConfig) => FamilyDifferences,
): DecoderConfig {
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
  const { qkvBias, outputBias, feedForwardBias, qkNorm, experts, ...own } = differences(raw);
  const heads = raw.num_attention_heads;
  const kvHeads = raw.num_key_value_heads ?? heads;
  const headDim = raw.head_dim ?? own.headDim ?? raw.hidden_size / heads;
  const unread = experts ? 0 : (raw.num_experts ?? raw.num_local_experts ?? 0);
  const problem =
    heads % kvHeads !== 0
      ? `num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}`
      : !Number.isInteger(headDim) || headDim % 2 !== 0
        ? `hidden_size ${raw.hidden_size} over num_attention_heads ${heads} gives head_dim ${headDim}, and rope needs an even integer`
        : raw.hidden_act && raw.hidden_act !== "silu"
          ? `hidden_act is "${raw.hidden_act}", and only "silu" is known`
          : unread > 1
            ? `it has ${unread} experts, and of mixtures of experts only qwen3_moe is known`
            : undefined;
  if (problem)
    throw new Failure("input", `${path}: ${problem}.`, "The config does not describe a model that can be built.");
  const windows = slidingWindows(raw, own, path);
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
    ...parseRope(raw, path),
    maxPositions: raw.max_position_embeddings,
    ...(qkvBias && { qkvBias }),
    ...(outputBias && { outputBias }),
    ...(feedForwardBias && { feedForwardBias }),
    ...(experts && { experts }),
    ...(qkNorm && { qkNorm }),
    ...(windows && { slidingWindows: windows }),
    tieEmbeddings: raw.tie_word_embeddings ?? false,
    bosTokenId: raw.bos_token_id ?? 1,
    eosTokenIds: typeof eos === "number" ? [eos] : eos,
    padTokenId: raw.pad_token_id ?? (typeof eos === "number" ? eos : eos[0]!),
    initializerRange: raw.initializer_range ?? 0.02,
  };
}

/** The window of each layer, or undefined where every row sees all; `layer_types` decides where the file has it. */
function slidingWindows(
  { layer_types: types, num_hidden_layers: layers }: SharedConfig,
  { window, slides = () => true }: FamilyDifferences,
  path: string,
): number[] | undefined {
  const unknown = types?.find((type) => type !== "full_attention" && type !== "sliding_attention");
  if (unknown !== undefined || (types && types.length !== layers)) {
    throw new Failure(
      "input",
      `${path}: layer_types ${unknown === undefined ? `names ${types!.length} layers of ${layers}` : `has "${unknown}"`}.`,
      "full_attention and sliding_attention are known, one for each layer.",
    );
  }
  if (!window) return undefined;
  const windows = Array.from({ length: layers }, (_, layer) =>
    (types ? types[layer] === "sliding_attention" : slides(layer)) ? window : 0,
  );
  return windows.some((length) => length > 0) ? windows : undefined;
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
    rope_scaling: formatRopeScaling(config.ropeScaling),
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieEmbeddings,
    torch_dtype: "float32",
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** `sliding_window` and, where only some layers slide, `layer_types`. */
export function formatSlidingWindows({ slidingWindows: windows }: DecoderConfig): Record<string, unknown> {
  if (!windows) return { sliding_window: null };
  return {
    sliding_window: Math.max(...windows),
    ...(windows.includes(0) && {
      layer_types: windows.map((window) => (window > 0 ? "sliding_attention" : "full_attention")),
    }),
  };
}
