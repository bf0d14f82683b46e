// 4 bits: blocks of 32 weights with one f16 scale, 4.5 bits a weight. The embedding table and the output layer, on which
// every token depends and which a small model feels most, stay at 8 bits.
import { defineScheme } from "../define-scheme.ts";

export default defineScheme({
  name: "q4_0",
  summary: "4.5 bits a weight, 8.5 in embedding and output layer",
  format: "gguf",
  fileType: 2,
  type: ({ role }) => (role === "projection" ? "Q4_0" : "Q8_0"),
});
