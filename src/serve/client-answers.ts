// What the client reads: chunks of chat and text completions as events, and echoed prompts as scores.
import { z } from "zod";
import {
  Failure,
  type FinishReason,
  type GenerateEvent,
  type ScoredText,
  type TokenChance,
  type TokenLogprob,
  type ToolCall,
  type Usage,
} from "../protocol/index.ts";

const chance = z.object({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int().min(0).max(255)).nullish(),
  id: z.int().optional(),
});
const chatLogprobs = z.object({ content: z.array(chance.extend({ top_logprobs: z.array(chance) })).nullish() });
const echoedContent = z.array(z.object({ id: z.int(), top_logprobs: z.array(chance) }));
const textLogprobs = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
  text_offset: z.array(z.int()),
});
const toolCallDelta = z.object({
  index: z.int().min(0).max(1023),
  id: z.string().nullish(),
  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).optional(),
});
const chunkSchema = z.object({
  error: z.object({ message: z.string() }).optional(),
  choices: z
    .array(
      z.object({
        text: z.string().nullish(),
        delta: z.object({ content: z.string().nullish(), tool_calls: z.array(toolCallDelta).nullish() }).nullish(),
        logprobs: z.union([chatLogprobs.required(), textLogprobs, chatLogprobs]).nullish(),
        finish_reason: z.string().nullish(),
        stop_reason: z.unknown().optional(),
      }),
    )
    .optional(),
  usage: z
    .object({
      prompt_tokens: z.int(),
      completion_tokens: z.int(),
      prompt_tokens_details: z.object({ cached_tokens: z.int().nullish() }).nullish(),
    })
    .nullish(),
});

/** The events of a stream of chunks. Throws Failure("environment") where it breaks off or is no such stream. */
export async function* readAnswer(
  frames: AsyncIterable<string>,
  server: string,
): AsyncGenerator<GenerateEvent, void, void> {
  let call: ToolCall | undefined;
  let calls = 0;
  let usage: Usage = { promptTokens: 0, completionTokens: 0 };
  let reason: string | undefined;
  let stop: string | undefined;
  for await (const data of frames) {
    const parsed = chunkSchema.safeParse(parseJson(data));
    if (!parsed.success)
      throw new Failure("environment", `${server} sent an event that is no chunk: ${data.slice(0, 200)}`);
    const { error, choices = [], usage: counted } = parsed.data;
    if (error) throw new Failure("environment", `${server}: ${error.message}`);
    if (counted) {
      const cached = counted.prompt_tokens_details?.cached_tokens;
      usage = {
        promptTokens: counted.prompt_tokens,
        completionTokens: counted.completion_tokens,
        ...(typeof cached === "number" && { cachedTokens: cached }),
      };
    }
    const [choice] = choices;
    if (!choice) continue;
    const text = choice.text ?? choice.delta?.content ?? "";
    const logprobs = choice.logprobs && toLogprobs(choice.logprobs);
    if (text !== "" || logprobs?.length) yield { type: "text-delta", text, ...(logprobs && { logprobs }) };
    for (const { index, id, function: called } of choice.delta?.tool_calls ?? []) {
      if (index >= calls) {
        if (call) yield { type: "tool-call", toolCall: call };
        call = { id: id ?? `call_${index}`, name: called?.name ?? "", arguments: "" };
        calls = index + 1;
        yield { type: "tool-call-delta", index, id: call.id, name: call.name, arguments: "" };
      }
      const piece = called?.arguments ?? "";
      if (!call || index < calls - 1 || piece === "") continue;
      call.arguments += piece;
      yield { type: "tool-call-delta", index, id: call.id, arguments: piece };
    }
    reason = choice.finish_reason ?? reason;
    if (typeof choice.stop_reason === "string") stop = choice.stop_reason;
  }
  if (reason === undefined) throw new Failure("environment", `${server} ended its answer too soon.`, "Try again.");
  if (call) yield { type: "tool-call", toolCall: call };
  const why: FinishReason = calls > 0 ? "tool-calls" : reason === "length" ? "length" : "stop";
  yield { type: "finish", reason: why, usage, ...(stop !== undefined && { stop }) };
}

/** Servers other than ours tell no ids of tokens; they are -1 then. */
function toChance({ token, logprob, bytes, id = -1 }: z.infer<typeof chance>): TokenChance {
  return { id, logprob, bytes: bytes ? Uint8Array.from(bytes) : new TextEncoder().encode(token) };
}

function toLogprobs(wire: z.infer<typeof textLogprobs> | z.infer<typeof chatLogprobs>): TokenLogprob[] {
  if ("content" in wire || !("tokens" in wire)) {
    return (wire.content ?? []).map((each) => ({ ...toChance(each), top: each.top_logprobs.map(toChance) }));
  }
  return wire.tokens.map((token, index) => ({
    ...toChance({ token, logprob: wire.token_logprobs[index] ?? 0 }),
    top: topOf(wire.top_logprobs?.[index]) ?? [],
  }));
}

function topOf(top: Record<string, number> | null | undefined): TokenChance[] | null {
  return top
    ? Object.entries(top)
        .map(([token, logprob]) => toChance({ token, logprob }))
        .sort((a, b) => b.logprob - a.logprob)
    : null;
}

const echoSchema = z.object({
  choices: z.array(z.object({ index: z.int(), logprobs: textLogprobs.extend({ content: echoedContent.optional() }) })),
});

/** The scores of echoed prompts, in their order. Throws Failure("environment") where the server gave none. */
export function readScores(body: unknown, count: number, withTop: boolean, server: string): ScoredText[] {
  const parsed = echoSchema.safeParse(body);
  const choices = parsed.data?.choices.toSorted((a, b) => a.index - b.index);
  if (choices?.length !== count) {
    throw new Failure(
      "environment",
      `${server} offers no log-probabilities of prompts.`,
      "They are /completions with echo and logprobs; give a server that has them, or the model's directory.",
    );
  }
  return choices.map(({ logprobs: wire }) => ({
    tokens: wire.tokens.map((_, index) => wire.content?.[index]?.id ?? -1),
    logprobs: wire.token_logprobs,
    offsets: wire.text_offset,
    ...(withTop && {
      top: wire.tokens.map((_, index) => {
        const top = topOf(wire.top_logprobs?.[index]);
        return (top && wire.content?.[index]?.top_logprobs.map(toChance)) ?? top;
      }),
    }),
  }));
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
