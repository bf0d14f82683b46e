// What every tokenizer of Lianlu offers, whatever its algorithm: BPE over bytes or characters, unigram.
// Only the interface; loadTokenizer in load.ts makes one.
import type { Message, ToolDefinition } from "../protocol/message.ts";

export interface ChatOptions {
  /** Tools that the model may call; they become a turn of their own, after the first system messages. */
  tools?: readonly ToolDefinition[];
  /** Ends with the opening of an assistant turn, for the model to go on. Default false. */
  addGenerationPrompt?: boolean;
  /** More variables of a Jinja template (chat_template_kwargs); what is built in does not look at them. */
  templateOptions?: Readonly<Record<string, unknown>>;
}

/**
 * How a model writes tool calls:
 * "internlm2": <|action_start|><|plugin|>, an object with "parameters", <|action_end|>;
 * "llama3": the object alone, or after <|python_tag|>;
 * "hermes": the object between <tool_call> and </tool_call>, as Qwen does too;
 * "plain": nothing is known.
 */
export type ChatDialect = "internlm2" | "llama3" | "hermes" | "plain";

/** A text, or the id of a control token. No two texts are neighbours, and none is empty. */
export type ChatPiece = string | number;

export interface DecodeOptions {
  /** "write" puts control tokens' names into the text. Default "omit". */
  controls?: "omit" | "write";
}

export interface Tokenizer {
  /** SHA-256 (hex) of the vocabulary: equal where the same ids mean the same bytes. */
  readonly id: string;
  /** One more than the largest id. */
  readonly vocabSize: number;
  /** Put before a text; undefined where the model was not trained so. */
  readonly bosId: number | undefined;
  readonly eosId: number;
  readonly padId: number | undefined;
  /** Generation ends at any of these: the end of text and, where there is one, the end of a turn. */
  readonly stopIds: readonly number[];
  /** `encode` puts a space before the text and `decode` takes it away, as SentencePiece does. */
  readonly addsLeadingSpace?: true;
  readonly chatDialect: ChatDialect;
  /**
   * Ids of a text. Never yields control tokens, whatever the text spells, and adds no BOS.
   * Lone surrogates are encoded as U+FFFD.
   */
  encode(text: string): Int32Array;
  /** Text of ids; control tokens are omitted by default, and bytes that are no UTF-8 become U+FFFD as in TextDecoder. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** The bytes that a token stands for; empty for control tokens. */
  tokenBytes(id: number): Uint8Array;
  isControl(id: number): boolean;
  /** The id of a control token by its text, for example "<|im_end|>". */
  controlId(name: string): number | undefined;
  /**
   * Ids of a dialogue by the checkpoint's chat template, with BOS where the template has one.
   * Control tokens come from the template alone, never from the messages.
   */
  encodeChat(messages: readonly Message[], options?: ChatOptions): Int32Array;
  /** The same dialogue before its texts are encoded: what `encodeChat` encodes piece by piece. */
  renderChat(messages: readonly Message[], options?: ChatOptions): ChatPiece[];
}
