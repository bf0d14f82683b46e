// A model's events as the routes need them: tool calls as a beginning, pieces and an end, however the model tells them.
import type { FinishReason, GenerateEvent, TokenLogprob, ToolCall, Usage } from "../protocol/index.ts";

export type AnswerEvent =
  | { type: "text"; text: string; logprobs: readonly TokenLogprob[] }
  | { type: "call-begin"; index: number; id: string; name: string }
  | { type: "call-piece"; index: number; text: string }
  | { type: "call-end"; index: number; toolCall: ToolCall }
  | { type: "finish"; reason: FinishReason; usage: Usage; stop: string | undefined };

/** Calls follow one another; each has exactly one beginning and one end. */
export async function* answerEvents(events: AsyncIterable<GenerateEvent>): AsyncGenerator<AnswerEvent, void, void> {
  let ended = 0;
  let begun = false;
  for await (const event of events) {
    switch (event.type) {
      case "text-delta": {
        const { text, logprobs = [] } = event;
        if (text !== "" || logprobs.length > 0) yield { type: "text", text, logprobs };
        break;
      }
      case "tool-call-delta":
        if (!begun) yield { type: "call-begin", index: ended, id: event.id, name: event.name ?? "" };
        begun = true;
        if (event.arguments !== "") yield { type: "call-piece", index: ended, text: event.arguments };
        break;
      case "tool-call": {
        const { toolCall } = event;
        if (!begun) {
          yield { type: "call-begin", index: ended, id: toolCall.id, name: toolCall.name };
          yield { type: "call-piece", index: ended, text: toolCall.arguments };
        }
        yield { type: "call-end", index: ended, toolCall };
        begun = false;
        ended += 1;
        break;
      }
      case "finish":
        yield { type: "finish", reason: event.reason, usage: event.usage, stop: event.stop };
        break;
      default:
        event satisfies never;
    }
  }
}

export interface WholeAnswer {
  text: string;
  calls: ToolCall[];
  logprobs: TokenLogprob[];
  reason: FinishReason;
  usage: Usage;
  stop: string | undefined;
}

/** All of an answer. */
export async function wholeAnswer(events: AsyncIterable<GenerateEvent>): Promise<WholeAnswer> {
  const answer: WholeAnswer = {
    text: "",
    calls: [],
    logprobs: [],
    reason: "stop",
    usage: { promptTokens: 0, completionTokens: 0 },
    stop: undefined,
  };
  for await (const event of answerEvents(events)) {
    if (event.type === "text") {
      answer.text += event.text;
      answer.logprobs.push(...event.logprobs);
    } else if (event.type === "call-end") answer.calls.push(event.toolCall);
    else if (event.type === "finish") {
      answer.reason = event.reason;
      answer.usage = event.usage;
      answer.stop = event.stop;
    }
  }
  return answer;
}
