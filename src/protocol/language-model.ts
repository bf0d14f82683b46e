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
  /** Drop tokens less likely than this share of the most likely one, in [0, 1]. Default 0. */
  minP?: number;
  /** Keep the tokens nearest to the expected surprise until their mass reaches this, in (0, 1]. Default 1. */
  typicalP?: number;
  /** Divides positive and multiplies negative logits of tokens that the sequence holds. Default 1. */
  repetitionPenalty?: number;
  /** Taken off the logit of each token that the answer holds. Default 0. */
  presencePenalty?: number;
  /** Taken off the logit of a token for each time that the answer holds it. Default 0. */
  frequencyPenalty?: number;
  /** Added to logits, by token id. */
  logitBias?: Readonly<Record<number, number>>;
  /** Random numbers are a function of (seed, position) alone. Default 0. */
  seed?: number;
}

export type ResponseFormat =
  | { type: "text" }
  | { type: "json_object" }
  | { type: "json_schema"; schema: Record<string, unknown> }
  /** A regular expression that the whole answer must match. */
  | { type: "regex"; pattern: string }
  /** One of these texts. */
  | { type: "choice"; choices: readonly string[] }
  /** A context-free grammar in GBNF whose rule `root` the whole answer must match. */
  | { type: "grammar"; grammar: string };

export type ToolChoice = "auto" | "none" | "required" | { name: string };

export interface GenerateRequest extends Sampling {
  /** Either a dialogue, rendered by the model's chat template, or a raw prompt, as text or as ids. */
  input: { messages: readonly Message[] } | { prompt: string } | { promptIds: readonly number[] };
  maxTokens?: number;
  /** Tokens before which the answer does not end by itself. Default 0. */
  minTokens?: number;
  /** Goes on where the model would end its turn. Default false. */
  ignoreEos?: boolean;
  stop?: readonly string[];
  tools?: readonly ToolDefinition[];
  toolChoice?: ToolChoice;
  /** Whether an answer may hold more than one tool call. Default true. */
  parallelToolCalls?: boolean;
  responseFormat?: ResponseFormat;
  /** Log-probabilities of the answer's tokens, with so many alternatives of each; 0 gives the tokens' own alone. */
  logprobs?: number;
  /** A LoRA adapter that the model has loaded, by name. */
  adapter?: string;
  /** Requests of higher priority run first. Default 0. */
  priority?: number;
  /** More variables of the chat template. */
  templateOptions?: Readonly<Record<string, unknown>>;
  signal?: AbortSignal;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  /** Prompt tokens whose keys and values were in the cache already. */
  cachedTokens?: number;
}

/** A token and how likely the model held it, before sampling's changes; natural logarithm. */
export interface TokenChance {
  id: number;
  /** May be half a character. */
  bytes: Uint8Array;
  logprob: number;
}

export interface TokenLogprob extends TokenChance {
  /** The most likely tokens, the likeliest first. */
  top: readonly TokenChance[];
}

export type FinishReason = "stop" | "length" | "tool-calls";

export type GenerateEvent =
  /** `logprobs` are of the tokens since the last event, where they were asked for; text may lag behind them. */
  | { type: "text-delta"; text: string; logprobs?: readonly TokenLogprob[] }
  /**
   * More of a tool call while it is written: the first of a call has its name and no arguments. All pieces of the
   * arguments together are those of the `tool-call` event, which follows when the call is complete.
   */
  | { type: "tool-call-delta"; index: number; id: string; name?: string; arguments: string }
  | { type: "tool-call"; toolCall: ToolCall }
  /** `stop` is the stop string that ended the answer; absent where the model or a limit did. */
  | { type: "finish"; reason: FinishReason; usage: Usage; stop?: string };

export interface ScoredText {
  /** Token ids of the text, with BOS where the model uses one. */
  tokens: readonly number[];
  /** Natural-log probability of each token given those before it; null for the first. */
  logprobs: readonly (number | null)[];
  /** UTF-16 offset in the text at which each token starts. */
  offsets: readonly number[];
  /** For each token the most likely ones in its place, where they were asked for; null for the first. */
  top?: readonly (readonly TokenChance[] | null)[];
}

export interface ScoreOptions {
  /** Alternatives wanted for each token. Default 0. */
  topLogprobs?: number;
  /** A LoRA adapter that the model has loaded, by name. */
  adapter?: string;
  signal?: AbortSignal;
}

export interface LanguageModel {
  readonly id: string;
  /** Longest prompt plus completion, in tokens. */
  readonly contextLength: number;
  generate(request: GenerateRequest): AsyncIterable<GenerateEvent>;
  /**
   * Log-probabilities of given texts, teacher-forced; the answers keep the order of the texts. Ids are taken as they are,
   * without a BOS.
   */
  score(texts: readonly (string | readonly number[])[], options?: ScoreOptions): Promise<readonly ScoredText[]>;
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
      case "tool-call-delta":
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
