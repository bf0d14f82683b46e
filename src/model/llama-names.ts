// The tensor names of Hugging Face's Llama, which most families share, and those of Qwen3's experts.
import type { TensorNames } from "./family.ts";

export const llamaNames: TensorNames = {
  embedding: "model.embed_tokens.weight",
  norm: "model.norm.weight",
  head: "lm_head",
  layer: (index) => {
    const attention = `model.layers.${index}.self_attn`;
    const feedForward = `model.layers.${index}.mlp`;
    return {
      attentionNorm: `model.layers.${index}.input_layernorm.weight`,
      projections: [`${attention}.q_proj`, `${attention}.k_proj`, `${attention}.v_proj`],
      qNorm: `${attention}.q_norm.weight`,
      kNorm: `${attention}.k_norm.weight`,
      output: `${attention}.o_proj`,
      feedForwardNorm: `model.layers.${index}.post_attention_layernorm.weight`,
      gate: `${feedForward}.gate_proj`,
      up: `${feedForward}.up_proj`,
      down: `${feedForward}.down_proj`,
      router: `${feedForward}.gate.weight`,
      expert: (expert) => ({
        gate: `${feedForward}.experts.${expert}.gate_proj`,
        up: `${feedForward}.experts.${expert}.up_proj`,
        down: `${feedForward}.experts.${expert}.down_proj`,
      }),
    };
  },
};
