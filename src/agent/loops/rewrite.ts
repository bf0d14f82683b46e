// Best of n by feedback: write a poem, have it checked by a tool call, and turn what the checker found into the grammar
// of the next draft: the lines before the first fault are kept, and a fourth line that did not rhyme has to. Until a poem
// passes or the tries are used up. Accepted poems are training data with their provenance.
import { z } from "zod";
import {
  charactersRhymingWith,
  poemLines,
  ruleNames,
  type Fault,
  type QuatrainCheck,
} from "../../corpus/verse/index.ts";
import { collect, type LanguageModel } from "../../protocol/language-model.ts";
import type { Message, ToolCall } from "../../protocol/message.ts";
import checker from "../tools/check-quatrain.ts";
import { callTool, definitionOf, type Tool } from "../tool.ts";

export interface RewriteOptions {
  model: LanguageModel;
  /** What is asked of the model, for example "以《春晓》为题写一首五言绝句". */
  request: string;
  /** Poems written at most. */
  tries: number;
  temperature: number;
  topP: number;
  /** Try t uses seed + t. */
  seed: number;
  signal: AbortSignal;
}

export interface Draft {
  /** Counted from 1. */
  attempt: number;
  seed: number;
  poem: string;
  /** Lines kept from the draft before. */
  keptLines: number;
  /** The call that the model made to have it checked. */
  toolCall: ToolCall;
  rules: QuatrainCheck["rules"];
  passed: boolean;
  faults: readonly Fault[];
}

const resultSchema = z.object({
  passed: z.boolean(),
  rules: z.record(z.enum(ruleNames), z.boolean()),
  faults: z.array(
    z.object({
      rule: z.enum(ruleNames),
      line: z.number().optional(),
      position: z.number().optional(),
      chinese: z.string(),
      english: z.string(),
    }),
  ),
});

const maxPoemTokens = 64;
const maxCallTokens = 256;
const han = "[一-鿿]";

/** Yields every draft as it is checked; the last one is the one that passed, where one did. */
export async function* rewrite(options: RewriteOptions): AsyncGenerator<Draft, void, void> {
  const ask: Message = { role: "user", content: options.request };
  let start: Start = { lines: [], endings: [] };
  for (let attempt = 1; attempt <= options.tries; attempt++) {
    const seed = options.seed + attempt;
    const poem = await write(options, ask, start, seed);
    const { toolCall, result } = await check(options, ask, poem, seed);
    const draft: Draft = {
      attempt,
      seed,
      poem,
      keptLines: start.lines.length,
      toolCall,
      rules: result.rules,
      passed: result.passed,
      faults: result.faults as Fault[],
    };
    yield draft;
    if (draft.passed) return;
    start = startOfNext(draft);
  }
}

/** What the checker's findings ask of the next draft. */
interface Start {
  /** Its first lines. */
  lines: readonly string[];
  /** Characters of which one must end the fourth line; empty where any may. */
  endings: readonly string[];
}

/** A poem with the given start; the grammar holds the model to it and to the form of what follows. */
async function write(options: RewriteOptions, ask: Message, start: Start, seed: number): Promise<string> {
  const { text } = await collect(
    options.model.generate({
      input: { messages: [ask] },
      maxTokens: maxPoemTokens,
      temperature: options.temperature,
      topP: options.topP,
      seed,
      ...(start.lines.length === 0 ? {} : { responseFormat: { type: "regex", pattern: patternOf(start) } }),
      signal: options.signal,
    }),
  );
  return text.trim();
}

/** Lines end "，" and "。" in turn; a line break after the second, as the corpus has it, or none. */
function patternOf({ lines, endings }: Start): string {
  const length = Array.from(lines[0]!).length;
  const last = endings.length === 0 ? han : `[${endings.join("")}]`;
  const free = [`${han}{${length}}`, `${han}{${length}}`, `${han}{${length}}`, `${han}{${length - 1}}${last}`];
  const [first, second, third, fourth] = free.map((line, index) => lines[index] ?? line);
  return `${first}，${second}。\\n?${third}，${fourth}。`;
}

/** The model calls the checker; the grammar holds the call to valid JSON about this poem. */
async function check(options: RewriteOptions, ask: Message, poem: string, seed: number) {
  const bound: Tool = { ...(checker as Tool), parameters: z.object({ poem: z.literal(poem) }) };
  const { toolCalls } = await collect(
    options.model.generate({
      input: { messages: [ask, { role: "assistant", content: poem }, { role: "user", content: "检查这首诗。" }] },
      tools: [definitionOf(bound)],
      toolChoice: { name: bound.name },
      maxTokens: maxCallTokens,
      temperature: 0,
      seed,
      signal: options.signal,
    }),
  );
  const toolCall = toolCalls[0];
  if (!toolCall) throw new Error("the model made no tool call although one was required");
  const outcome = await callTool([bound], toolCall, options.signal);
  if (!outcome.ok) throw new Error(outcome.error);
  return { toolCall, result: resultSchema.parse(outcome.result) };
}

/** The lines before the first fault that names a line, none where the form itself is broken; and the rhyme, where it failed. */
function startOfNext({ poem, rules, faults }: Draft): Start {
  if (!rules.form) return { lines: [], endings: [] };
  const first = Math.min(...faults.map(({ line }) => line ?? 1));
  const lines = poemLines(poem).slice(0, Math.min(first - 1, 3));
  const rhymeWord = rules.rhyme ? undefined : Array.from(lines[1] ?? "").at(-1);
  return { lines, endings: rhymeWord === undefined ? [] : charactersRhymingWith(rhymeWord) };
}
