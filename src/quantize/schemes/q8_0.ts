// 8 bits: blocks of 32 weights with one f16 scale, 8.5 bits a weight. Hardly to be told from the float model.
import { defineScheme } from "../define-scheme.ts";

export default defineScheme({
  name: "q8_0",
  summary: "8.5 bits a weight",
  format: "gguf",
  fileType: 7,
  type: () => "Q8_0",
});
