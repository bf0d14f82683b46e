export { bytesOf, copyTokenizer, loadCheckpoint, makeTrainable, readConfig, saveCheckpoint } from "./checkpoint.ts";
export { countParameters, type DecoderConfig } from "./config.ts";
export {
  buildDecoder,
  decode,
  initializeDecoder,
  namedTensors,
  packedAttention,
  replaceLinears,
  type Decoder,
  type Layer,
} from "./decoder.ts";
export { familyOf, parseConfig, type Family, type TensorNames } from "./family.ts";
export { loadGguf } from "./gguf.ts";
export { configToGguf, ggufPlaces, invertRows, pickRows, type GgufPlace, type TensorRole } from "./gguf-layout.ts";
export { type Attend } from "./layers/attention.ts";
export { denseLinear, packedLinear, type Linear } from "./layers/linear.ts";
export { addLora, loadAdapter, mergeLora, saveAdapter, type LoraOptions, type LoraPair } from "./lora.ts";
