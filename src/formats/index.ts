// The door of the formats room: the files that links of the chain hand to each other.
export { type GgufFile, type GgufTensor, type GgufTensorToWrite, type GgufValue, openGguf, writeGguf } from "./gguf.ts";
export { createJsonLinesWriter, type JsonLine, type JsonLinesWriter, readJsonLines } from "./jsonl.ts";
export {
  type Llama2cCheckpoint,
  type Llama2cConfig,
  type Llama2cTokenizer,
  readLlama2c,
  readLlama2cTokenizer,
} from "./llama2c.ts";
export { type ArtifactOptions, type Manifest, readManifest, writeArtifact } from "./manifest.ts";
export {
  openSafetensors,
  readFloats,
  type SafetensorsFile,
  type TensorEntry,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts";
export {
  type PieceKind,
  pieceKinds,
  readSentencePiece,
  type SentencePiece,
  type SentencePieceModel,
} from "./sentencepiece.ts";
export {
  createTokenWriter,
  openTokens,
  type Split,
  type TokenDocuments,
  type TokenWriter,
  type TokenWriterOptions,
} from "./token-shards.ts";
