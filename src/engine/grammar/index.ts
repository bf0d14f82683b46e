// Constrained decoding: grammars from schemas, patterns and tools, and the tokens that they allow.
export { createConstraint, type Constraint } from "./constraint.ts";
export { createMask, emptyWords, setBit, type TokenMask } from "./mask.ts";
export type { State } from "./automaton.ts";
export type { Grammar } from "./expression.ts";
export { jsonObject, jsonSchema } from "./schema.ts";
export { gbnfGrammar } from "./gbnf.ts";
export { choiceGrammar, regexGrammar } from "./requests.ts";
export { toolCallGrammar, type ToolCallOptions } from "./tool-calls.ts";
