// For tests alone: a tokenizer of bytes and a few words, and a runner whose logits are random numbers of the text before.
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

export const controlNames = [
  "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|action_start|>", "<|action_end|>", "<|plugin|>", "<|interpreter|>",
]; // prettier-ignore
const words = [
  '{"', '":', '": ', '", "', '"}', "}}", "]]", "[[", '"name', "parameters", "true", "false", "null", "你好", "月",
  "\\n", "\\\"", "123", "10", ".5", " the", "ing", "é", "\xe9",
]; // prettier-ignore

/** Ids: control tokens, then 256 bytes, then words, then the upper half of a character. */
export function createTestTokenizer(extraWords: readonly string[] = []): Tokenizer {
  const bytes: Uint8Array[] = [
    ...controlNames.map(() => new Uint8Array()),
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...[...words, ...extraWords].map((word) => new Uint8Array(Buffer.from(word))),
    Uint8Array.of(0xe4, 0xbd),
  ];
  const firstByte = controlNames.length;
  const encode = (text: string): Int32Array => Int32Array.from(Buffer.from(text), (byte) => byte + firstByte);
  const id = (name: string): number => controlNames.indexOf(name);
  return {
    id: "test",
    vocabSize: bytes.length,
    bosId: id("<s>"),
    eosId: id("</s>"),
    padId: undefined,
    stopIds: [id("</s>"), id("<|im_end|>")],
    encode,
    decode: (ids) => Buffer.concat(Array.from(ids, (each) => bytes[each]!)).toString("utf8"),
    tokenBytes: (each) => bytes[each]!,
    isControl: (each) => each < firstByte,
    controlId: (name) => (controlNames.includes(name) ? id(name) : undefined),
    encodeChat(messages, options = {}) {
      const ids = [id("<s>")];
      for (const { role, content } of messages)
        ids.push(id("<|im_start|>"), ...encode(`${role}\n${content}`), id("<|im_end|>"));
      if (options.tools?.length) ids.push(...encode(JSON.stringify(options.tools)));
      if (options.addGenerationPrompt) ids.push(id("<|im_start|>"), ...encode("assistant\n"));
      return Int32Array.from(ids);
    },
  };
}
