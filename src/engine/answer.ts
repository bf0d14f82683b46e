// From generated ids to events: text without half characters, cut at stop strings, and tool calls as a whole.
import type { FinishReason, GenerateEvent, TokenLogprob } from "../protocol/index.ts";
import { createStreamDecoder, parseCallBody, type Tokenizer } from "../tokenizer/index.ts";
import type { Guide } from "./guide.ts";
import { createLag } from "./lag.ts";
import { createStopMatcher } from "./stop-matcher.ts";

export interface AnswerOptions {
  tokenizer: Tokenizer;
  guide: Guide;
  stop: readonly string[];
  maxTokens: number;
  promptTokens: number;
  /** Whether the text goes on after a raw prompt, so that a leading space is part of it. */
  continuing: boolean;
  /** The id of the tool call that may come. */
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
  const { tokenizer, guide, emit, maxTokens, promptTokens } = options;
  const stops = new Set(tokenizer.stopIds);
  const matcher = createStopMatcher(options.stop);
  const lag = createLag(options.stop.length > 0);
  const text = createStreamDecoder(tokenizer, { continuing: options.continuing });
  const call = createStreamDecoder(tokenizer, { continuing: true });
  let calling = false;
  let callText = "";
  let tokens = 0;

  function emitText(piece: string, logprobs: readonly TokenLogprob[]): void {
    if (logprobs.length > 0) emit({ type: "text-delta", text: piece, logprobs });
    else if (piece !== "") emit({ type: "text-delta", text: piece });
  }

  function finish(reason: FinishReason): true {
    emit({ type: "finish", reason, usage: { promptTokens, completionTokens: tokens } });
    return true;
  }

  /** Gives out text that may end in a stop string; returns whether it did. */
  function write(piece: string): boolean {
    const { text: out, stopped } = matcher.push(piece);
    emitText(out, lag.release(out.length));
    return stopped;
  }

  function endText(): boolean {
    const piece = text.end();
    lag.push(undefined, piece.length);
    if (write(piece)) return true;
    emitText(matcher.end(), lag.rest());
    return false;
  }

  function endCall(): true {
    const parsed = parseCallBody(callText + call.end());
    if ("reason" in parsed) throw new RangeError(`A call of the grammar is broken: ${parsed.reason}`);
    emit({ type: "tool-call", toolCall: { id: options.callId(), ...parsed } });
    return finish("tool-calls");
  }

  function push(id: number, logprob?: TokenLogprob): boolean {
    tokens += 1;
    guide.accept(id);
    if (guide.inCall) {
      if (!calling) endText();
      calling = true;
      if (logprob) emitText("", [logprob]);
      callText += call.push(id);
      return guide.final ? endCall() : false;
    }
    if (stops.has(id)) {
      endText();
      return finish("stop");
    }
    const piece = text.push(id);
    lag.push(logprob, piece.length);
    if (write(piece)) return finish("stop");
    const written = guide.tokensNeeded > 0 && guide.complete;
    if (tokens < maxTokens && !(written && guide.final)) return false;
    return finish(endText() || written ? "stop" : "length");
  }

  return {
    get tokens() {
      return tokens;
    },
    push,
  };
}
