// Qwen3's mixtures of experts: a Qwen3 whose feed-forward layers, or most of them, are a router and experts.
import { Failure } from "../../protocol/errors.ts";
import type { DecoderConfig } from "../config.ts";
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, parseSharedConfig, type SharedConfig } from "../shared-config.ts";

/** What transformers takes where config.json is silent. */
const defaults = { window: 4096, experts: 128, perToken: 8, intermediateSize: 768, balance: 0.001 };

export default {
  name: "qwen3_moe",
  architectures: ["Qwen3MoeForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("qwen3_moe", json, path, (raw) => ({
      qkNorm: true,
      qkvBias: raw.attention_bias ?? false,
      outputBias: raw.attention_bias ?? false,
      // Unlike in Qwen3, every layer slides.
      ...(raw.use_sliding_window && { window: raw.sliding_window ?? defaults.window }),
      experts: parseExperts(raw, path),
    })),
  formatConfig: (config) => ({
    architectures: ["Qwen3MoeForCausalLM"],
    model_type: "qwen3_moe",
    attention_bias: config.qkvBias ?? false,
    head_dim: config.headDim,
    use_sliding_window: config.slidingWindows !== undefined,
    sliding_window: config.slidingWindows ? Math.max(...config.slidingWindows) : null,
    decoder_sparse_step: 1,
    mlp_only_layers: config.experts?.denseLayers ?? [],
    moe_intermediate_size: config.experts?.intermediateSize,
    norm_topk_prob: config.experts?.normalize,
    num_experts: config.experts?.count,
    num_experts_per_tok: config.experts?.perToken,
    router_aux_loss_coef: config.experts?.balance,
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "qwen3moe", interleaved: false },
} satisfies Family as Family;

function parseExperts(raw: SharedConfig, path: string): NonNullable<DecoderConfig["experts"]> {
  const count = raw.num_experts ?? raw.num_local_experts ?? defaults.experts;
  const perToken = raw.num_experts_per_tok ?? defaults.perToken;
  if (count < 1 || perToken > count) {
    throw new Failure(
      "input",
      `${path}: num_experts_per_tok is ${perToken} and num_experts ${count}.`,
      "A row goes to at least one expert, and to no more than there are.",
    );
  }
  const every = raw.decoder_sparse_step ?? 1;
  const listed = raw.mlp_only_layers ?? [];
  const layers = Array.from({ length: raw.num_hidden_layers }, (_, layer) => layer);
  const denseLayers = layers.filter((layer) => listed.includes(layer) || (layer + 1) % every !== 0);
  return {
    count,
    perToken,
    intermediateSize: raw.moe_intermediate_size ?? defaults.intermediateSize,
    normalize: raw.norm_topk_prob ?? false,
    balance: raw.router_aux_loss_coef ?? defaults.balance,
    ...(denseLayers.length > 0 && { denseLayers }),
  };
}
