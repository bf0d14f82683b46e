// Llama 2, 3, 3.1 and 3.2, and what was trained in their shape.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, parseSharedConfig } from "../shared-config.ts";

export default {
  name: "llama",
  architectures: ["LlamaForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("llama", json, path, (raw) => ({
      qkvBias: raw.attention_bias ?? false,
      outputBias: raw.attention_bias ?? false,
      feedForwardBias: raw.mlp_bias ?? false,
    })),
  formatConfig: (config) => ({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    attention_bias: config.qkvBias ?? false,
    mlp_bias: config.feedForwardBias ?? false,
    head_dim: config.headDim,
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "llama", interleaved: true },
} satisfies Family as Family;
