// 4 bits in groups of 128 inputs with a scale and a zero of their own, as AWQ checkpoints have them: safetensors that
// other engines load. Embedding table, norms and output layer stay half precision.
import { defineScheme } from "../define-scheme.ts";

export default defineScheme({
  name: "awq",
  summary: "4.25 bits a weight as AWQ safetensors, embedding and output layer in 16",
  format: "awq",
  groupSize: 128,
});
