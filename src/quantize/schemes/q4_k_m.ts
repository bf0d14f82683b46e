// 4 bits in super-blocks of 256, with 6 bits where it matters most: the mix that llama.cpp calls Q4_K_M. The projection
// to v and that down from the feed-forward layer have 6 bits in the first and last eighth of the layers and in every
// third between; so has the output layer, or the embedding table that is one. All else has 4.5 bits.
import { defineScheme } from "../define-scheme.ts";

export default defineScheme({
  name: "q4_k_m",
  summary: "4.5 bits a weight, 6.6 in half of the layers' v and down and in the output layer",
  format: "gguf",
  fileType: 15,
  type({ name, role, layers, tied }) {
    if (role === "head" || (role === "embedding" && tied)) return "Q6_K";
    const [, layer, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
    const sensitive = part === "attn_v" || part === "ffn_down";
    return sensitive && hasMoreBits(Number(layer), layers) ? "Q6_K" : "Q4_K";
  },
});

function hasMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}
