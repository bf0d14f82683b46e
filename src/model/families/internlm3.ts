// InternLM3: Llama's names; `qkv_bias` for q, k and v, `bias` for every other projection.
import type { Family } from "../family.ts";
import { llamaNames } from "../llama-names.ts";
import { formatSharedConfig, parseSharedConfig } from "../shared-config.ts";

// The modelling code that transformers fetches for this architecture.
const remote = "internlm/internlm3-8b-instruct";

export default {
  name: "internlm3",
  architectures: ["InternLM3ForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("internlm3", json, path, (raw) => {
      // transformers' own version of the architecture has Llama's names for the two.
      const bias = raw.bias ?? raw.mlp_bias ?? false;
      return { qkvBias: raw.qkv_bias ?? raw.attention_bias ?? false, outputBias: bias, feedForwardBias: bias };
    }),
  formatConfig: (config) => ({
    architectures: ["InternLM3ForCausalLM"],
    auto_map: {
      AutoConfig: `${remote}--configuration_internlm3.InternLM3Config`,
      AutoModel: `${remote}--modeling_internlm3.InternLM3Model`,
      AutoModelForCausalLM: `${remote}--modeling_internlm3.InternLM3ForCausalLM`,
    },
    model_type: "internlm3",
    bias: config.feedForwardBias ?? false,
    qkv_bias: config.qkvBias ?? false,
    head_dim: config.headDim,
    ...formatSharedConfig(config),
  }),
  names: llamaNames,
  gguf: { architecture: "llama", interleaved: true },
} satisfies Family as Family;
