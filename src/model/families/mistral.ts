// Mistral: a Llama whose rows may see no further back than a window.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, formatSlidingWindows, parseSharedConfig } from "../shared-config.ts";

/** What transformers takes where config.json is silent; from version 0.2 on the files say null, which is no window. */
const defaultWindow = 4096;

export default {
  name: "mistral",
  architectures: ["MistralForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("mistral", json, path, (raw) => ({
      window: (raw.sliding_window === undefined ? defaultWindow : raw.sliding_window) ?? 0,
    })),
  formatConfig: (config) => ({
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    head_dim: config.headDim,
    ...formatSlidingWindows(config),
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "llama", interleaved: true },
} satisfies Family as Family;
