// Finds tool calls in what a model writes, in InternLM2's dialect:
//   <|action_start|><|plugin|>\n{"name": ..., "parameters": {...}}<|action_end|>
// Works on ids, so that text which merely spells a control token is text. `parameters` becomes protocol's `arguments`.
import { z } from "zod";
import type { ToolCall } from "../protocol/message.ts";
import { createStreamDecoder } from "./stream-decoder.ts";
import type { StreamDecoder } from "./stream-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

export type ToolCallEvent =
  | { type: "text-delta"; text: string }
  | { type: "tool-call"; toolCall: ToolCall }
  /** What stood where a call was expected is none; `text` is what was written. */
  | { type: "broken-call"; text: string; reason: string };

export interface ToolCallParser {
  /** Whether a call has begun and not ended: what a constraint on its JSON applies to. */
  readonly inCall: boolean;
  push(id: number): ToolCallEvent[];
  /** Call it after the last id: gives out the rest of the text, and a call that did not end as broken. */
  end(): ToolCallEvent[];
}

export interface ToolCallParserOptions {
  /** Makes the id of the call with this number, from 0. Default "call_0", "call_1" ... */
  callId?: (index: number) => string;
}

/** For ids one by one. Where the tokenizer lacks the dialect's control tokens, everything is text. */
export function createToolCallParser(
  tokenizer: Tokenizer,
  { callId = (index) => `call_${index}` }: ToolCallParserOptions = {},
): ToolCallParser {
  const startId = tokenizer.controlId("<|action_start|>");
  const endId = tokenizer.controlId("<|action_end|>");
  const interpreterId = tokenizer.controlId("<|interpreter|>");
  let text = createStreamDecoder(tokenizer);
  let call: { decoder: StreamDecoder; body: string; forInterpreter: boolean } | undefined;
  let calls = 0;

  const textEvents = (piece: string): ToolCallEvent[] => (piece === "" ? [] : [{ type: "text-delta", text: piece }]);

  function endCall(cutShort: boolean): ToolCallEvent[] {
    const { decoder, body, forInterpreter } = call!;
    call = undefined;
    const written = body + decoder.end();
    const broken = (reason: string): ToolCallEvent[] => [{ type: "broken-call", text: written, reason }];
    if (cutShort) return broken("the call was not finished");
    if (forInterpreter) return broken("code for the interpreter, which is no tool");
    const parsed = parseCallBody(written);
    if ("reason" in parsed) return broken(parsed.reason);
    return [{ type: "tool-call", toolCall: { id: callId(calls++), ...parsed } }];
  }

  function push(id: number): ToolCallEvent[] {
    if (call === undefined) {
      if (id !== startId) return textEvents(text.push(id));
      const rest = text.end();
      text = createStreamDecoder(tokenizer, { continuing: true });
      call = { decoder: createStreamDecoder(tokenizer, { continuing: true }), body: "", forInterpreter: false };
      return textEvents(rest);
    }
    if (id === endId) return endCall(false);
    if (id === startId) return [...endCall(true), ...push(id)];
    if (id === interpreterId && call.body === "") call.forInterpreter = true;
    call.body += call.decoder.push(id);
    return [];
  }

  return {
    get inCall() {
      return call !== undefined;
    },
    push,
    end: () => (call === undefined ? textEvents(text.end()) : endCall(true)),
  };
}

/** For ids that are all there. */
export function parseToolCalls(
  tokenizer: Tokenizer,
  ids: ArrayLike<number>,
  options?: ToolCallParserOptions,
): { text: string; toolCalls: ToolCall[]; broken: { text: string; reason: string }[] } {
  const parser = createToolCallParser(tokenizer, options);
  const events = Array.from(ids, (id) => parser.push(id)).flat();
  events.push(...parser.end());
  return {
    text: events.map((event) => (event.type === "text-delta" ? event.text : "")).join(""),
    toolCalls: events.flatMap((event) => (event.type === "tool-call" ? [event.toolCall] : [])),
    broken: events.flatMap((event) =>
      event.type === "broken-call" ? [{ text: event.text, reason: event.reason }] : [],
    ),
  };
}

const bodySchema = z.object({ name: z.string().min(1) });

/**
 * The JSON object of a call, without its tags. `arguments` is the text of "parameters" (or "arguments") exactly as
 * written, "{}" where there is none.
 */
export function parseCallBody(body: string): { name: string; arguments: string } | { reason: string } {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    return { reason: `not JSON: ${(error as Error).message}` };
  }
  const parsed = bodySchema.safeParse(value);
  if (!parsed.success) return { reason: 'not an object with a "name"' };
  const members = memberTexts(body);
  const parameters = members.get("parameters") ?? members.get("arguments") ?? "{}";
  return parameters.startsWith("{")
    ? { name: parsed.data.name, arguments: parameters }
    : { reason: '"parameters" is not an object' };
}

/** The source text of each member of a JSON object that is known to be valid; of equal keys the last counts. */
function memberTexts(json: string): Map<string, string> {
  const members = new Map<string, string>();
  let depth = 0;
  let key: string | undefined;
  let valueStart = 0;
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]/gu;
  for (const { 0: match, index } of json.matchAll(token)) {
    if (depth === 1 && key === undefined && match.startsWith('"')) key = JSON.parse(match) as string;
    else if (depth === 1 && match === ":") valueStart = index + 1;
    if (match === "{" || match === "[") depth++;
    if (match === "}" || match === "]") depth--;
    if (key !== undefined && ((depth === 1 && match === ",") || depth === 0)) {
      members.set(key, json.slice(valueStart, index).trim());
      key = undefined;
    }
  }
  return members;
}
