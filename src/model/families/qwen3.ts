// Qwen3: every head of q and k is normalised before rope; heads have a length of their own.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, formatSlidingWindows, parseSharedConfig } from "../shared-config.ts";

/** What transformers takes where config.json is silent. */
const defaultHeadDim = 128;
const defaultWindow = 4096;
const defaultFullLayers = 28;

export default {
  name: "qwen3",
  architectures: ["Qwen3ForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("qwen3", json, path, (raw) => ({
      headDim: defaultHeadDim,
      qkNorm: true,
      qkvBias: raw.attention_bias ?? false,
      outputBias: raw.attention_bias ?? false,
      ...(raw.use_sliding_window && {
        window: raw.sliding_window ?? defaultWindow,
        slides: (layer) => layer >= (raw.max_window_layers ?? defaultFullLayers),
      }),
    })),
  formatConfig: (config) => ({
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    attention_bias: config.qkvBias ?? false,
    head_dim: config.headDim,
    use_sliding_window: config.slidingWindows !== undefined,
    max_window_layers: config.slidingWindows ? config.slidingWindows.lastIndexOf(0) + 1 : config.layers,
    ...formatSlidingWindows(config),
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "qwen3", interleaved: false },
} satisfies Family as Family;
