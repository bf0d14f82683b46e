// 6 bits: super-blocks of 256 weights, 6.56 bits a weight throughout.
import { defineScheme } from "../define-scheme.ts";

export default defineScheme({
  name: "q6_k",
  summary: "6.6 bits a weight",
  format: "gguf",
  fileType: 18,
  type: () => "Q6_K",
});
