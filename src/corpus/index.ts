// The data link: from raw sources to a corpus that was normalised, filtered, freed of duplicates and accounted for.
export { buildCorpus } from "./build.ts";
export type { CorpusOptions, CorpusResult } from "./build.ts";
export type { Document, DocumentMeta, Place, RawDocument, SourceItem } from "./document.ts";
export { createNearDuplicates, type NearDuplicates } from "./dedup/near.ts";
export { bodyOf } from "./document.ts";
export { allScripts, defineFilter, filterNames } from "./filter.ts";
export type { Filter, FilterText } from "./filter.ts";
export { defineInstructionRules, makeInstructions, writeInstructions } from "./instructions/index.ts";
export type {
  Instruction,
  InstructionMetrics,
  InstructionRules,
  MakeInstructionsOptions,
  SplitInstruction,
  WriteInstructionsOptions,
} from "./instructions/index.ts";
export type { DroppedDocument, QuarantinedRecord } from "./intake.ts";
export type { Ledger, SourceLedger, StepLedger } from "./ledger.ts";
export { normaliseText, scriptOptions } from "./normalise.ts";
export type { ScriptOption } from "./normalise.ts";
export { readCorpus } from "./read.ts";
export { scriptOf, type Script } from "./script.ts";
export { defineSource } from "./source.ts";
export type { Source, SourceFolder } from "./source.ts";
export { checkQuatrain, poemLines, rhymeGroupsOf, rhymes, ruleNames, ruleTitles, toneOf } from "./verse/index.ts";
export type { Fault, QuatrainCheck, RuleName, Tone } from "./verse/index.ts";
