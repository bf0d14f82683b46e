// The door of the tokenizer room.
export { createByteLevelTokenizer } from "./byte-level.ts";
export { bareOpenings, callFormat, type CallFormat } from "./call-format.ts";
export { INTERNLM2_TEMPLATE, writeCall } from "./chat.ts";
export type { TokenizerData } from "./data.ts";
export { findTokenizerFile, loadTokenizer } from "./load.ts";
export { createStreamDecoder } from "./stream-decoder.ts";
export type { StreamDecoder, StreamDecoderOptions } from "./stream-decoder.ts";
export { withPlainTools } from "./plain-tools.ts";
export { readTokenizerJson } from "./tokenizer-json.ts";
export { saveTokenizer } from "./tokenizer-json-write.ts";
export type { ChatDialect, ChatOptions, DecodeOptions, Tokenizer } from "./tokenizer.ts";
export { createToolCallParser, parseCallBody, parseToolCalls } from "./tool-calls.ts";
export type { ToolCallEvent, ToolCallParser, ToolCallParserOptions } from "./tool-calls.ts";
export { splitOf, tokenize } from "./tokenize.ts";
export type { SplitMetrics, TokenizeMetrics, TokenizeOptions } from "./tokenize.ts";
export { trainBpe } from "./train.ts";
export type { SplitName, TrainBpeOptions } from "./train.ts";
