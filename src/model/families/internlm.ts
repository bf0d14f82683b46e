// InternLM, the first: a Llama with biases on q, k, v and the output.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, parseSharedConfig } from "../shared-config.ts";

// The modelling code that transformers fetches for this architecture.
const remote = "internlm/internlm-7b";

export default {
  name: "internlm",
  architectures: ["InternLMForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("internlm", json, path, (raw) => ({
      qkvBias: raw.bias ?? true,
      outputBias: raw.bias ?? true,
    })),
  formatConfig: (config) => ({
    architectures: ["InternLMForCausalLM"],
    auto_map: {
      AutoConfig: `${remote}--configuration_internlm.InternLMConfig`,
      AutoModel: `${remote}--modeling_internlm.InternLMForCausalLM`,
      AutoModelForCausalLM: `${remote}--modeling_internlm.InternLMForCausalLM`,
    },
    model_type: "internlm",
    bias: config.qkvBias ?? false,
    ...formatSharedConfig(config),
    rotary: {
      base: config.ropeTheta,
      type: config.ropeScaling ? config.ropeScaling.type : "origin",
      ...(config.ropeScaling?.type === "dynamic" && { scaling_factor: config.ropeScaling.factor }),
    },
  }),
  names: llamaNames,
  gguf: { architecture: "llama", interleaved: true },
} satisfies Family as Family;
