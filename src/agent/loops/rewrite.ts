// Best of n by feedback: write a poem, have it checked by a tool call, keep the lines before the first fault and write
// the rest anew, until it passes or the tries are used up. Accepted poems are training data with their provenance.
import { z } from "zod";
import { poemLines, ruleNames, type Fault, type QuatrainCheck } from "../../corpus/verse/index.ts";
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
  let kept: string[] = [];
  for (let attempt = 1; attempt <= options.tries; attempt++) {
    const seed = options.seed + attempt;
    const poem = await write(options, ask, kept, seed);
    const { toolCall, result } = await check(options, ask, poem, seed);
    const draft: Draft = {
      attempt,
      seed,
      poem,
      keptLines: kept.length,
      toolCall,
      rules: result.rules,
      passed: result.passed,
      faults: result.faults as Fault[],
    };
    yield draft;
    if (draft.passed) return;
    kept = soundLines(draft);
  }
}

/** A poem whose first lines are given; the grammar holds the model to them and to the form of what follows. */
async function write(options: RewriteOptions, ask: Message, kept: readonly string[], seed: number): Promise<string> {
  const { text } = await collect(
    options.model.generate({
      input: { messages: [ask] },
      maxTokens: maxPoemTokens,
      temperature: options.temperature,
      topP: options.topP,
      seed,
      ...(kept.length === 0 ? {} : { responseFormat: { type: "regex", pattern: continuation(kept) } }),
      signal: options.signal,
    }),
  );
  return text.trim();
}

/** Lines end "，" and "。" in turn; a line break after each, as the corpus has them, or none. */
function continuation(kept: readonly string[]): string {
  const line = (index: number): string =>
    `${kept[index] ?? `${han}{${Array.from(kept[0]!).length}}`}${index % 2 === 0 ? "，" : "。"}${index === 1 ? "\\n?" : ""}`;
  return [0, 1, 2, 3].map(line).join("");
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

/** The lines before the first fault that names a line; none where the form itself is broken. */
function soundLines({ poem, rules, faults }: Draft): string[] {
  if (!rules.form) return [];
  const first = Math.min(...faults.map(({ line }) => line ?? 1));
  return poemLines(poem).slice(0, Math.min(first - 1, 3));
}
