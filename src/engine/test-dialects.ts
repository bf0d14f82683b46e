// For tests alone: tokenizers of bytes and a few words that speak each dialect of tool calls.
import type { ChatDialect, Tokenizer } from "../tokenizer/index.ts";
import { createTestTokenizer } from "./test-support.ts";

const words = [
  "<tool_call>\n",
  "</tool_call>",
  "<tool",
  "_call",
  ">\n{",
  '{"name": "',
  "; {",
  '", "arguments": {',
  "<",
  "ll>",
];

/** Control tokens of the dialect beside those of the test tokenizer: the tags of hermes, the tag of llama3. */
export function createDialectTokenizer(chatDialect: ChatDialect, controls: readonly string[] = []): Tokenizer {
  const base = createTestTokenizer(words);
  const first = base.vocabSize;
  const own = chatDialect === "internlm2" ? undefined : new Set(["<|action_start|>", "<|action_end|>", "<|plugin|>"]);
  return {
    ...base,
    chatDialect,
    vocabSize: first + controls.length,
    tokenBytes: (id) => (id < first ? base.tokenBytes(id) : new Uint8Array()),
    decode: (ids) => base.decode(Array.from(ids).filter((id) => id < first)),
    isControl: (id) => id >= first || base.isControl(id),
    controlId: (name) => {
      if (controls.includes(name)) return first + controls.indexOf(name);
      return own?.has(name) ? undefined : base.controlId(name);
    },
  };
}
