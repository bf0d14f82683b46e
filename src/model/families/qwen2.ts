// Qwen2 and 2.5: biases on q, k and v always, on the output never.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, formatSlidingWindows, parseSharedConfig } from "../shared-config.ts";

/** What transformers takes where config.json is silent. */
const defaultWindow = 4096;
const defaultFullLayers = 28;

export default {
  name: "qwen2",
  architectures: ["Qwen2ForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("qwen2", json, path, (raw) => ({
      qkvBias: true,
      ...(raw.use_sliding_window && {
        window: raw.sliding_window ?? defaultWindow,
        slides: (layer) => layer >= (raw.max_window_layers ?? defaultFullLayers),
      }),
    })),
  formatConfig: (config) => ({
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    use_sliding_window: config.slidingWindows !== undefined,
    max_window_layers: config.slidingWindows ? config.slidingWindows.lastIndexOf(0) + 1 : config.layers,
    ...formatSlidingWindows(config),
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "qwen2", interleaved: false },
} satisfies Family as Family;
