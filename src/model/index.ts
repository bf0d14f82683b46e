export {
  bytesOf,
  loadCheckpoint,
  makeTrainable,
  readConfig,
  readLlama2cConfig,
  saveCheckpoint,
  type LoadCheckpointOptions,
} from "./checkpoint.ts";
export {
  countActiveParameters,
  countParameters,
  expertsOf,
  windowOf,
  type DecoderConfig,
  type ExpertsConfig,
} from "./config.ts";
export {
  buildDecoder,
  decode,
  decodeLayer,
  denseFeedForward,
  initializeDecoder,
  namedTensors,
  packedAttention,
  planRope,
  replaceLinears,
  rotationOf,
  type Decoder,
  type DecoderParts,
  type Layer,
} from "./decoder.ts";
export { familyNames, familyOf, parseConfig, type Family, type TensorNames } from "./family.ts";
export { type FrozenMode } from "./frozen.ts";
export { ggufBytesInMemory, loadGguf } from "./gguf.ts";
export { configFromGguf, configToGguf, ggufDifferences, ggufExtraTensors, ggufFamilyOf } from "./gguf-config.ts";
export { ggufPlaces, invertRows, pickRows, rowLengthOf, type GgufPlace, type TensorRole } from "./gguf-layout.ts";
export { type Attend, type Rotation } from "./layers/attention.ts";
export { denseEmbedding, storedEmbedding, type Embedding } from "./layers/embedding.ts";
export { forRows, frozenEmbedding, frozenLinear } from "./layers/frozen.ts";
export { denseLinear, packedLinear, type Linear } from "./layers/linear.ts";
export { type Rope, type RopeRun } from "./layers/rope.ts";
export { maximumPositions, type RopeScaling } from "./layers/rope-scaling.ts";
export {
  adapterTensors,
  addLora,
  attachAdapter,
  loadAdapter,
  loraFactor,
  mergeInto,
  mergeLora,
  readAdapter,
  replaceAdaptable,
  saveAdapter,
  setAdapters,
  type LoraOptions,
  type LoraPair,
} from "./lora/index.ts";
export { writeModelFiles, type ModelFilesOptions, type WeightType } from "./merged.ts";
export { ggufFileOf, hasSafetensors } from "./model-files.ts";
export { refuseStored } from "./safetensors-weights.ts";
export { loadRewardCheckpoint, rewardConfigFields, valueHeadName, type RewardCheckpoint } from "./value-head.ts";
