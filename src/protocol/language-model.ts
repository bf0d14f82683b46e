// The one interface through which evaluators, agents and the server know a model.
// Implemented in process by engine/ and over HTTP by serve/'s client.
import type { Message, ToolCall, ToolDefinition } from "./message.ts";

export interface Sampling {
  /** 0 is greedy. Default 1. */
  temperature?: number;
  /** Keep the smallest set of tokens whose probability reaches this, in (0, 1]. Default 1. */
  topP?: number;
  /** Keep the k most likely tokens; 0 keeps all. Default 0. */
  topK?: number;
  /** Random numbers are a function of (seed, position) alone. Default 0. */
  seed?: number;
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; schema: Record<string, unknown> }
  /** A regular expression that the whole answer must match. */
  | { type: "regex"; pattern: string };

export type ToolChoice = "auto" | "none" | "required" | { name: string };

export interface GenerateRequest extends Sampling {
  /** Either a dialogue, rendered by the model's chat template, or a raw prompt. */
  input: { messages: readonly Message[] } | { prompt: string };
  maxTokens?: number;
  stop?: readonly string[];
  tools?: readonly ToolDefinition[];
  toolChoice?: ToolChoice;
  responseFormat?: ResponseFormat;
  signal?: AbortSignal;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

export type FinishReason = "stop" | "length" | "tool-calls";

export type GenerateEvent =
  | { type: "text-delta"; text: string }
  | { type: "tool-call"; toolCall: ToolCall }
  | { type: "finish"; reason: FinishReason; usage: Usage };

export interface ScoredText {
  /** Token ids of the text, with BOS where the model uses one. */
  tokens: readonly number[];
  /** Natural-log probability of each token given those before it; null for the first. */
  logprobs: readonly (number | null)[];
  /** UTF-16 offset in the text at which each token starts. */
  offsets: readonly number[];
}

export interface LanguageModel {
  readonly id: string;
  /** Longest prompt plus completion, in tokens. */
  readonly contextLength: number;
  generate(request: GenerateRequest): AsyncIterable<GenerateEvent>;
  /** Log-probabilities of given texts, teacher-forced; the answers keep the order of the texts. */
  score(texts: readonly string[], options?: { signal?: AbortSignal }): Promise<readonly ScoredText[]>;
  /** Frees memory, threads and sockets. */
  close(): Promise<void>;
}

/** Collects a generation into one message. */
export async function collect(events: AsyncIterable<GenerateEvent>): Promise<{
  text: string;
  toolCalls: ToolCall[];
  reason: FinishReason;
  usage: Usage;
}> {
  let text = "";
  const toolCalls: ToolCall[] = [];
  let reason: FinishReason = "stop";
  let usage: Usage = { promptTokens: 0, completionTokens: 0 };
  for await (const event of events) {
    switch (event.type) {
      case "text-delta":
        text += event.text;
        break;
      case "tool-call":
        toolCalls.push(event.toolCall);
        break;
      case "finish":
        reason = event.reason;
        usage = event.usage;
        break;
      default:
        event satisfies never;
    }
  }
  return { text, toolCalls, reason, usage };
}
