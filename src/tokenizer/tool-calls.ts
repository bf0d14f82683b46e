// Finds tool calls in what a model writes, in the dialect of its family (call-format.ts), while it is written.
// Works on ids, so that text which merely spells a control token is text. `parameters` becomes protocol's `arguments`.
import { z } from "zod";
import type { ToolCall } from "../protocol/message.ts";
import { bareOpenings, callFormat, type CallFormat } from "./call-format.ts";
import { createCallScanner, type CallScanner } from "./call-scanner.ts";
import { createStreamDecoder } from "./stream-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

export type ToolCallEvent =
  | { type: "text-delta"; text: string }
  /** The first of a call has its name and no arguments, later ones more of the arguments' text. */
  | { type: "tool-call-delta"; index: number; id: string; name?: string; arguments: string }
  | { type: "tool-call"; toolCall: ToolCall }
  /** What stood where a call was expected is none; `text` is what was written. */
  | { type: "broken-call"; text: string; reason: string };

export interface ToolCallParser {
  /** Whether a call has begun and not ended. */
  readonly inCall: boolean;
  push(id: number): ToolCallEvent[];
  /** Call it after the last id: gives out the rest of the text, and a call that did not end as broken. */
  end(): ToolCallEvent[];
}

export interface ToolCallParserOptions {
  /** Makes the id of the call with this number, from 0. Default "call_0", "call_1" ... */
  callId?: (index: number) => string;
  /** Default: that of the tokenizer's dialect. */
  format?: CallFormat | undefined;
  /** Whether only what stands at the very beginning, or after another call, can be a call. Default false. */
  atStart?: boolean;
}

/** For ids one by one. Where the tokenizer lacks the dialect's control tokens, everything is text. */
export function createToolCallParser(
  tokenizer: Tokenizer,
  {
    callId = (index) => `call_${index}`,
    format = callFormat(tokenizer, tokenizer.chatDialect),
    atStart = false,
  }: ToolCallParserOptions = {},
): ToolCallParser {
  const { opening, closing, bare } = format ?? {};
  const openingText = typeof opening === "string" ? opening : undefined;
  const openingId = typeof opening === "number" ? opening : undefined;
  const closingText = typeof closing === "string" ? closing : undefined;
  const closingId = typeof closing === "number" ? closing : undefined;
  const interpreterId = tokenizer.controlId("<|interpreter|>");
  let decoder = createStreamDecoder(tokenizer);
  /** Text that may yet turn out to be the opening of a call, or white space between calls. */
  let held = "";
  /** Whether a call may begin here without any mark before it. */
  let fresh = true;
  let call: { scanner: CallScanner; id: string; raw: string; streamed: boolean; forInterpreter: boolean } | undefined;
  let calls = 0;

  const textEvents = (piece: string): ToolCallEvent[] => {
    if (piece === "") return [];
    fresh = false;
    return [{ type: "text-delta", text: piece }];
  };

  function openCall(): void {
    call = { scanner: createCallScanner(), id: callId(calls), raw: "", streamed: false, forInterpreter: false };
  }

  function endCall(cutShort: boolean): ToolCallEvent[] {
    const { scanner, id, raw, streamed, forInterpreter } = call!;
    call = undefined;
    fresh = true;
    const broken = (reason: string): ToolCallEvent[] => [{ type: "broken-call", text: raw, reason }];
    if (cutShort) return broken("the call was not finished");
    if (forInterpreter) return broken("code for the interpreter, which is no tool");
    // Where a control token ends the call, all that stands before it is the object.
    const parsed = parseCallBody(closingId === undefined ? scanner.body : raw);
    if ("reason" in parsed) return broken(parsed.reason);
    const index = calls++;
    const events: ToolCallEvent[] = streamed
      ? []
      : [{ type: "tool-call-delta", index, id, arguments: parsed.arguments }];
    return [...events, { type: "tool-call", toolCall: { id, ...parsed } }];
  }

  /** Text within a call. */
  function pushCall(piece: string): ToolCallEvent[] {
    const events: ToolCallEvent[] = [];
    const current = call!;
    current.raw += piece;
    if (!current.scanner.done) {
      const scanned = current.scanner.push(piece);
      const { id } = current;
      if (scanned.name !== undefined)
        events.push({ type: "tool-call-delta", index: calls, id, name: scanned.name, arguments: "" });
      if (scanned.arguments !== "") {
        current.streamed = true;
        events.push({ type: "tool-call-delta", index: calls, id, arguments: scanned.arguments });
      }
      if (scanned.rest === undefined) return events;
      held = scanned.rest;
    } else held += piece;
    if (closing === undefined) {
      const rest = held;
      held = "";
      events.push(...endCall(false), ...pushText(rest));
    } else if (closingText !== undefined && held.includes(closingText)) {
      const rest = held.slice(held.indexOf(closingText) + closingText.length);
      held = "";
      events.push(...endCall(false), ...pushText(rest));
    }
    return events;
  }

  /** Text outside a call. */
  function pushText(piece: string): ToolCallEvent[] {
    held += piece;
    const mayOpen = !atStart || fresh;
    const between = calls > 0 && fresh;
    const blank = between ? /^[\s;]*/.exec(held)![0] : "";
    const candidate = held.slice(blank.length);
    if (bare && fresh) {
      if (bareOpenings.some((each) => candidate.startsWith(each))) {
        held = "";
        openCall();
        return pushCall(candidate);
      }
      if (bareOpenings.some((each) => each.startsWith(candidate))) return [];
    }
    if (between && candidate === "") return [];
    let keep = 0;
    if (openingText !== undefined && mayOpen) {
      const at = held.indexOf(openingText);
      if (at >= 0 && (!atStart || at === blank.length)) {
        const before = between && held.slice(0, at).trim() === "" ? "" : held.slice(0, at);
        const rest = held.slice(at + openingText.length);
        held = "";
        const events = textEvents(before);
        openCall();
        return [...events, ...pushCall(rest)];
      }
      keep = Math.min(openingText.length - 1, held.length);
      while (keep > 0 && !openingText.startsWith(held.slice(held.length - keep))) keep -= 1;
      if (atStart && keep < candidate.length) keep = 0;
      if (between && keep === candidate.length) return [];
    }
    const out = held.slice(0, held.length - keep);
    held = held.slice(held.length - keep);
    return textEvents(out);
  }

  /** The rest of the text before a call, or at the end: white space between two calls is none. */
  function flushText(): ToolCallEvent[] {
    const events = pushText(decoder.end());
    if (call) return events;
    const rest = calls > 0 && fresh && /^[\s;]*$/.test(held) ? "" : held;
    held = "";
    return [...events, ...textEvents(rest)];
  }

  function push(id: number): ToolCallEvent[] {
    if (call === undefined) {
      const opens = id === openingId || (id === format?.bareTag && fresh);
      if (!opens) return pushText(decoder.push(id));
      const events = flushText();
      decoder = createStreamDecoder(tokenizer, { continuing: true });
      openCall();
      return events;
    }
    if (id === closingId) return [...pushCall(decoder.end()), ...endCall(false)];
    if (id === openingId) {
      const events = endCall(true);
      decoder = createStreamDecoder(tokenizer, { continuing: true });
      openCall();
      return events;
    }
    if (id === interpreterId && call.raw === "") call.forInterpreter = true;
    return pushCall(decoder.push(id));
  }

  function end(): ToolCallEvent[] {
    if (call === undefined) return flushText();
    const events = pushCall(decoder.end());
    return call === undefined ? [...events, ...flushText()] : [...events, ...endCall(true)];
  }

  return {
    get inCall() {
      return call !== undefined;
    },
    push,
    end,
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
