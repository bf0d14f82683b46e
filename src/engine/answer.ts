// From generated ids to events: text without half characters, cut at stop strings, and tool calls piece by piece.
import type { FinishReason, GenerateEvent, TokenLogprob } from "../protocol/index.ts";
import {
  createStreamDecoder,
  createToolCallParser,
  type CallFormat,
  type Tokenizer,
  type ToolCallEvent,
} from "../tokenizer/index.ts";
import type { Guide } from "./guide.ts";
import { createLag } from "./lag.ts";
import { createStopMatcher } from "./stop-matcher.ts";

export interface AnswerOptions {
  tokenizer: Tokenizer;
  guide: Guide;
  stop: readonly string[];
  /** How tool calls are written, and whether only at the beginning; undefined where all is text. */
  calls: { format: CallFormat; atStart: boolean } | undefined;
  maxTokens: number;
  promptTokens: number;
  /** Whether the text goes on after a raw prompt, so that a leading space is part of it. */
  continuing: boolean;
  /** The id of the next tool call. */
  callId: () => string;
  emit(event: GenerateEvent): void;
}

export interface Answer {
  /** Tokens generated so far, the stop token included. */
  readonly tokens: number;
  /** Takes the next id, emits what it completes, and returns whether the answer has ended. */
  push(id: number, logprob?: TokenLogprob): boolean;
}

export function createAnswer(options: AnswerOptions): Answer {
  const { tokenizer, guide, emit, maxTokens, promptTokens, calls } = options;
  const stops = new Set(tokenizer.stopIds);
  const matcher = createStopMatcher(options.stop);
  const lag = createLag(options.stop.length > 0);
  const reader = calls
    ? createToolCallParser(tokenizer, { ...calls, callId: options.callId })
    : textReader(tokenizer, options.continuing);
  let called = false;
  /** The stop string that ended the answer. */
  let stopped: string | undefined;
  let tokens = 0;

  function emitText(text: string, logprobs: readonly TokenLogprob[]): void {
    if (logprobs.length > 0) emit({ type: "text-delta", text, logprobs });
    else if (text !== "") emit({ type: "text-delta", text });
  }

  function finish(reason: FinishReason): true {
    const usage = { promptTokens, completionTokens: tokens };
    emit({
      type: "finish",
      reason: called ? "tool-calls" : reason,
      usage,
      ...(stopped !== undefined && { stop: stopped }),
    });
    return true;
  }

  /** Text that is held back in case a stop string begins there: a call, or the end, settles that. */
  function endText(): void {
    emitText(matcher.end(), lag.rest());
  }

  /** Emits what the reader has found; returns whether a stop string ended the answer. */
  function write(events: readonly ToolCallEvent[], logprob?: TokenLogprob): boolean {
    const characters = events.reduce((sum, event) => sum + (event.type === "text-delta" ? event.text.length : 0), 0);
    lag.push(logprob, characters);
    for (const event of events) {
      switch (event.type) {
        case "text-delta": {
          const found = matcher.push(event.text);
          emitText(found.text, lag.release(found.text.length));
          stopped = found.stopped;
          if (stopped !== undefined) return true;
          break;
        }
        case "tool-call-delta":
        case "tool-call":
          if (!called) endText();
          called = true;
          emit(event);
          break;
        case "broken-call":
          throw new RangeError(`A call of the grammar is broken: ${event.reason}`);
        default:
          event satisfies never;
      }
    }
    emitText("", called ? lag.rest() : lag.release(0));
    return false;
  }

  function push(id: number, logprob?: TokenLogprob): boolean {
    tokens += 1;
    guide.accept(id);
    const ended = stops.has(id);
    if (!ended && write(reader.push(id), logprob)) return finish("stop");
    const written = guide.tokensNeeded > 0 && guide.complete;
    if (!ended && tokens < maxTokens && !(written && guide.final)) return false;
    if (write(reader.end())) return finish("stop");
    endText();
    return finish(ended || written ? "stop" : "length");
  }

  return {
    get tokens() {
      return tokens;
    },
    push,
  };
}

/** All that is written as text. */
function textReader(
  tokenizer: Tokenizer,
  continuing: boolean,
): { push(id: number): ToolCallEvent[]; end(): ToolCallEvent[] } {
  const decoder = createStreamDecoder(tokenizer, { continuing });
  const events = (text: string): ToolCallEvent[] => (text === "" ? [] : [{ type: "text-delta", text }]);
  return { push: (id) => events(decoder.push(id)), end: () => events(decoder.end()) };
}
