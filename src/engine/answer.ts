// From generated ids to events: text without half characters, cut at stop strings, and tool calls as a whole.
import type { FinishReason, GenerateEvent } from "../protocol/index.ts";
import { createStreamDecoder, parseCallBody, type Tokenizer } from "../tokenizer/index.ts";
import type { Guide } from "./guide.ts";

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
  push(id: number): boolean;
}

export function createAnswer(options: AnswerOptions): Answer {
  const { tokenizer, guide, emit, maxTokens, promptTokens } = options;
  const stops = new Set(tokenizer.stopIds);
  const matcher = createStopMatcher(options.stop);
  const text = createStreamDecoder(tokenizer, { continuing: options.continuing });
  const call = createStreamDecoder(tokenizer, { continuing: true });
  let calling = false;
  let callText = "";
  let tokens = 0;

  function emitText(piece: string): void {
    if (piece !== "") emit({ type: "text-delta", text: piece });
  }

  function finish(reason: FinishReason): true {
    emit({ type: "finish", reason, usage: { promptTokens, completionTokens: tokens } });
    return true;
  }

  function endText(): boolean {
    const { text: rest, stopped } = matcher.push(text.end());
    emitText(stopped ? rest : rest + matcher.end());
    return stopped;
  }

  function endCall(): true {
    const parsed = parseCallBody(callText + call.end());
    if ("reason" in parsed) throw new RangeError(`A call of the grammar is broken: ${parsed.reason}`);
    emit({ type: "tool-call", toolCall: { id: options.callId(), ...parsed } });
    return finish("tool-calls");
  }

  function push(id: number): boolean {
    tokens += 1;
    guide.accept(id);
    if (guide.inCall) {
      if (!calling) endText();
      calling = true;
      callText += call.push(id);
      return guide.final ? endCall() : false;
    }
    if (stops.has(id)) {
      endText();
      return finish("stop");
    }
    const { text: piece, stopped } = matcher.push(text.push(id));
    emitText(piece);
    if (stopped) return finish("stop");
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

/** Finds the first of some strings in text that arrives in pieces; what might become one is held back. */
export function createStopMatcher(stop: readonly string[]): {
  push(piece: string): { text: string; stopped: boolean };
  end(): string;
} {
  let held = "";
  return {
    push(piece) {
      held += piece;
      const found = stop.map((each) => held.indexOf(each)).filter((index) => index >= 0);
      if (found.length > 0) {
        const text = held.slice(0, Math.min(...found));
        held = "";
        return { text, stopped: true };
      }
      let keep = 0;
      for (const each of stop) {
        for (let length = Math.min(each.length - 1, held.length); length > keep; length--) {
          if (each.startsWith(held.slice(held.length - length))) keep = length;
        }
      }
      const text = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text, stopped: false };
    },
    end() {
      const text = held;
      held = "";
      return text;
    },
  };
}
