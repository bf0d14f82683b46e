// How each dialect writes a tool call: what opens and closes it, and what the object calls its arguments.
// tool-calls.ts reads by it, and the engine's grammar of calls is made from it.
//   internlm2  <|action_start|><|plugin|>\n{"name": ..., "parameters": {...}}<|action_end|>, one after the other
//   hermes     <tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>, with line ends between (Qwen too)
//   llama3     {"name": ..., "parameters": {...}} as the whole answer or after <|python_tag|>, with "; " between
//   plain      as hermes, as the system message of plain-tools.ts explains it to a model that was taught no dialect
import type { ChatDialect, Tokenizer } from "./tokenizer.ts";

export interface CallFormat {
  /** A control token or a text that opens a call anywhere; undefined where none does. */
  opening: number | string | undefined;
  /** A control token that follows the opening. */
  afterOpening: number | undefined;
  /** A control token or a text that ends a call; undefined where the end of the object does. */
  closing: number | string | undefined;
  /** White space around the object. */
  inner: string;
  /** What stands between two calls. */
  separator: string;
  argumentsKey: "parameters" | "arguments";
  /** Whether the object alone is a call at the beginning of an answer. */
  bare: boolean;
  /** A control token that may stand before a bare object. */
  bareTag: number | undefined;
}

/** How the object of a bare call begins: whatever else begins with a brace is text. */
export const bareOpenings: readonly string[] = ["{", "{ "].flatMap((brace) =>
  ["", '"type": "function", ', '"type":"function",'].flatMap((type) =>
    ['"name": "', '"name":"'].map((name) => brace + type + name),
  ),
);

/** The format of a dialect; undefined where the tokenizer lacks the control tokens that it takes. */
export function callFormat(tokenizer: Tokenizer, dialect: ChatDialect): CallFormat | undefined {
  const controlOr = (text: string): number | string => tokenizer.controlId(text) ?? text;
  switch (dialect) {
    case "internlm2": {
      const [opening, afterOpening, closing] = ["<|action_start|>", "<|plugin|>", "<|action_end|>"].map((name) =>
        tokenizer.controlId(name),
      );
      if (opening === undefined || afterOpening === undefined || closing === undefined) return undefined;
      return {
        opening,
        afterOpening,
        closing,
        inner: "",
        separator: "",
        argumentsKey: "parameters",
        bare: false,
        bareTag: undefined,
      };
    }
    case "llama3":
      return {
        opening: undefined,
        afterOpening: undefined,
        closing: undefined,
        inner: "",
        separator: "; ",
        argumentsKey: "parameters",
        bare: true,
        bareTag: tokenizer.controlId("<|python_tag|>"),
      };
    case "hermes":
    case "plain":
      return {
        opening: dialect === "hermes" ? controlOr("<tool_call>") : "<tool_call>",
        afterOpening: undefined,
        closing: dialect === "hermes" ? controlOr("</tool_call>") : "</tool_call>",
        inner: "\n",
        separator: "\n",
        argumentsKey: "arguments",
        bare: false,
        bareTag: undefined,
      };
    default:
      return dialect satisfies never;
  }
}
