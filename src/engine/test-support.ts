// For tests alone: a tokenizer of bytes and a few words, and a runner whose logits are random numbers of the text before.
import { pageTokens } from "../kernels/kernels.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { Runner } from "./runner.ts";

export const controlNames = [
  "<unk>",
  "<s>",
  "</s>",
  "<|im_start|>",
  "<|im_end|>",
  "<|action_start|>",
  "<|action_end|>",
  "<|plugin|>",
  "<|interpreter|>",
];
const words = [
  '{"',
  '":',
  '": ',
  '", "',
  '"}',
  "}}",
  "]]",
  "[[",
  '"name',
  "parameters",
  "true",
  "false",
  "null",
  "你好",
  "月",
  "\\n",
  '\\"',
  "123",
  "10",
  ".5",
  " the",
  "ing",
  "é",
  "\xe9",
];

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
  const renderChat: Tokenizer["renderChat"] = (messages, options = {}) => {
    const pieces: (string | number)[] = [id("<s>")];
    for (const { role, content } of messages) pieces.push(id("<|im_start|>"), `${role}\n${content}`, id("<|im_end|>"));
    if (options.tools?.length) pieces.push(JSON.stringify(options.tools));
    if (options.addGenerationPrompt) pieces.push(id("<|im_start|>"), "assistant\n");
    return pieces;
  };
  return {
    id: "test",
    vocabSize: bytes.length,
    bosId: id("<s>"),
    eosId: id("</s>"),
    padId: undefined,
    chatDialect: "internlm2",
    stopIds: [id("</s>"), id("<|im_end|>")],
    encode,
    decode: (ids) => Buffer.concat(Array.from(ids, (each) => bytes[each]!)).toString("utf8"),
    tokenBytes: (each) => bytes[each]!,
    isControl: (each) => each < firstByte,
    controlId: (name) => (controlNames.includes(name) ? id(name) : undefined),
    encodeChat: (messages, options) =>
      Int32Array.from(
        renderChat(messages, options).flatMap((piece) => (typeof piece === "number" ? [piece] : [...encode(piece)])),
      ),
    renderChat,
  };
}

/**
 * A runner whose logits are a hash of all ids up to a row, read back from its pages: a wrong page table shows at once.
 * `ending` is how much likelier the stop token is than others, `delay` the milliseconds that a step takes.
 */
export function createTestRunner(
  vocabSize: number,
  pages: number,
  { ending = 0, delay = 0 }: { ending?: number; delay?: number } = {},
): Runner & { steps: number[] } {
  const memory = new Int32Array(pages * pageTokens).fill(-1);
  const logits = new Float32Array(vocabSize);
  const steps: number[] = [];
  return {
    vocabSize,
    pages,
    cacheBytes: memory.byteLength,
    copyPage(from, to) {
      memory.copyWithin(to * pageTokens, from * pageTokens, (from + 1) * pageTokens);
    },
    steps,
    run({ ids, positions, sequences, pageTable, maxPages, wanted }, onOutput) {
      steps.push(ids.length);
      if (delay > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, delay);
      const slot = (row: number, position: number): number =>
        pageTable[sequences[row]! * maxPages + Math.floor(position / pageTokens)]! * pageTokens +
        (position % pageTokens);
      for (const [row, id] of ids.entries()) memory[slot(row, positions[row]!)] = id;
      for (const row of wanted) {
        let hash = 1;
        for (let position = 0; position <= positions[row]!; position++) {
          hash = (Math.imul(hash, 31) + memory[slot(row, position)]! + 7) >>> 0;
        }
        for (let id = 0; id < vocabSize; id++) logits[id] = Math.sin(hash * 0.0001 + id * id) * 3;
        logits[controlNames.indexOf("</s>")]! += ending;
        onOutput(row, logits);
      }
    },
  };
}
