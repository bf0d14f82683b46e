export type { Instruction, InstructionRules } from "./instruction.ts";
export { defineInstructionRules } from "./instruction.ts";
export { makeInstructions, type MakeInstructionsOptions, type SplitInstruction } from "./make.ts";
export { topicOf, writeRequest } from "./rules/poems.ts";
export { type InstructionMetrics, writeInstructions, type WriteInstructionsOptions } from "./write.ts";
