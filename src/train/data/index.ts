// The door of training data: from what people write behind --data to examples with their masks.
export {
  encodeAnswer,
  encodeDialogue,
  encodePrompt,
  maskDialects,
  type EncodedDialogue,
  type EncodeOptions,
  type MaskDialect,
} from "./encode.ts";
export {
  describePlace,
  encodePairs,
  encodePrompts,
  encodeRatings,
  encodeRecords,
  lengthPolicies,
  readExamples,
  readPairs,
  readPrompts,
  readRatings,
  type EncodedPair,
  type EncodedPrompt,
  type EncodedRating,
  type ExampleCounts,
  type ExampleOptions,
  type ExampleReport,
  type ExampleSet,
  type LengthPolicy,
  type TrainingExample,
} from "./examples.ts";
export {
  inspectData,
  type DataInspection,
  type DataStatistics,
  type InspectedItem,
  type InspectOptions,
} from "./inspect.ts";
export { defineFormat, formatNames, RecordFault, type Format, type RawRecord } from "./format.ts";
export {
  createPackedSampler,
  packedBatches,
  packingReport,
  type PackedExample,
  type PackedState,
  type PackingOptions,
  type PackingReport,
} from "./packing.ts";
export { readRecords, type PlacedRecord, type ReadOptions, type ReadResult, type SourceReport } from "./read.ts";
export { purposes } from "./record.ts";
export type {
  DataSource,
  Dialogue,
  DialogueMessage,
  PlainText,
  PreferencePair,
  PromptRecord,
  Purpose,
  RatedAnswer,
  RecordPlace,
  RecordsOf,
  TokenRecord,
  TrainingRecord,
} from "./record.ts";
export { parseDataSource, sourceNames } from "./sources.ts";
