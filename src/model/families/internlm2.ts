// InternLM2 and 2.5: q, k and v fused and grouped by key head.
import type { Family } from "../family.ts";
import { formatSharedConfig, parseSharedConfig } from "../shared-config.ts";

// The modelling code that transformers fetches for this architecture.
const remote = "internlm/internlm2_5-1_8b";

export default {
  name: "internlm2",
  architectures: ["InternLM2ForCausalLM"],
  parseConfig: (json, path) =>
    parseSharedConfig("internlm2", json, path, (raw) => ({
      qkvBias: raw.bias ?? false,
      outputBias: raw.bias ?? false,
    })),
  formatConfig: (config) => ({
    architectures: ["InternLM2ForCausalLM"],
    auto_map: {
      AutoConfig: `${remote}--configuration_internlm2.InternLM2Config`,
      AutoModel: `${remote}--modeling_internlm2.InternLM2ForCausalLM`,
      AutoModelForCausalLM: `${remote}--modeling_internlm2.InternLM2ForCausalLM`,
    },
    model_type: "internlm2",
    bias: config.qkvBias ?? false,
    ...formatSharedConfig(config),
  }),
  names: {
    embedding: "model.tok_embeddings.weight",
    norm: "model.norm.weight",
    head: "output",
    layer: (index) => ({
      attentionNorm: `model.layers.${index}.attention_norm.weight`,
      projections: [`model.layers.${index}.attention.wqkv`],
      output: `model.layers.${index}.attention.wo`,
      feedForwardNorm: `model.layers.${index}.ffn_norm.weight`,
      gate: `model.layers.${index}.feed_forward.w1`,
      up: `model.layers.${index}.feed_forward.w3`,
      down: `model.layers.${index}.feed_forward.w2`,
    }),
  },
  gguf: { architecture: "llama", interleaved: true },
} satisfies Family as Family;
