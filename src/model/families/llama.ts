// Llama and what shares its names: separate q, k and v.
import { formatSharedConfig, parseSharedConfig } from "../config.ts";
import type { Family } from "../family.ts";

export default {
  name: "llama",
  architectures: ["LlamaForCausalLM"],
  parseConfig: (json, path) => parseSharedConfig("llama", json, path),
  formatConfig: (config) => ({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    attention_bias: false,
    mlp_bias: false,
    head_dim: config.headDim,
    ...formatSharedConfig(config),
  }),
  names: {
    embedding: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head",
    layer: (index) => ({
      attentionNorm: `model.layers.${index}.input_layernorm.weight`,
      projections: [
        `model.layers.${index}.self_attn.q_proj`,
        `model.layers.${index}.self_attn.k_proj`,
        `model.layers.${index}.self_attn.v_proj`,
      ],
      output: `model.layers.${index}.self_attn.o_proj`,
      feedForwardNorm: `model.layers.${index}.post_attention_layernorm.weight`,
      gate: `model.layers.${index}.mlp.gate_proj`,
      up: `model.layers.${index}.mlp.up_proj`,
      down: `model.layers.${index}.mlp.down_proj`,
    }),
  },
} satisfies Family as Family;
