import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { GgufValue } from "../formats/gguf.ts";
import { writeGguf } from "../formats/gguf.ts";
import { Failure } from "../protocol/errors.ts";
import { byteCharacters } from "./byte-characters.ts";
import { loadTokenizer } from "./load.ts";
import { tokenizerVectors, unlessThere } from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "gguf-vocabulary-"));
after(() => rmSync(directory, { recursive: true }));

for (const name of ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"]) {
  const path = join(tokenizerVectors, `llama.cpp/ggml-vocab-${name}.gguf`);
  test(`${name}: ids equal those of llama.cpp`, { skip: unlessThere(path) }, () => {
    const tokenizer = loadTokenizer(path);
    const texts = readFileSync(`${path}.inp`, "utf8").split("\n__ggml_vocab_test__\n");
    const lines = readFileSync(`${path}.out`, "utf8").split("\n");
    texts.forEach((text, index) => {
      const expected = lines[index]!.split(" ").filter(Boolean).map(Number);
      assert.deepEqual([...tokenizer.encode(text)], expected, JSON.stringify(text));
      assert.equal(tokenizer.decode(expected), text);
    });
  });
}

let files = 0;

function place(fields: Record<string, GgufValue>): string {
  const path = join(directory, `${files++}.gguf`);
  writeGguf(path, { metadata: new Map(Object.entries(fields)), tensors: [] });
  return path;
}

const text = (value: string): GgufValue => ({ type: "string", value });
const texts = (value: readonly string[]): GgufValue => ({ type: "array", items: "string", value });
const numbers = (items: "int32" | "float32", value: readonly number[]): GgufValue => ({ type: "array", items, value });
const id = (value: number): GgufValue => ({ type: "uint32", value });

function byteLevel(changes: Record<string, GgufValue> = {}): Record<string, GgufValue> {
  return {
    "tokenizer.ggml.model": text("gpt2"),
    "tokenizer.ggml.pre": text("qwen2"),
    "tokenizer.ggml.tokens": texts([...byteCharacters, "<|im_start|>", "<|im_end|>", "<tool_call>", "ab"]),
    "tokenizer.ggml.token_type": numbers("int32", [...byteCharacters.map(() => 1), 3, 3, 4, 1]),
    "tokenizer.ggml.merges": texts(["a b"]),
    "tokenizer.ggml.bos_token_id": id(256),
    "tokenizer.ggml.eos_token_id": id(257),
    ...changes,
  };
}

test("special ids, the policy of BOS, added tokens and named templates", () => {
  const templates = {
    "tokenizer.chat_template": text("{{ messages[0].content }}{{ eos_token }}"),
    "tokenizer.chat_template.tool_use": text("<tool_call>{{ bos_token }}"),
  };
  const tokenizer = loadTokenizer(place(byteLevel(templates)));
  assert.deepEqual([tokenizer.bosId, tokenizer.eosId, tokenizer.stopIds], [undefined, 257, [257]]);
  assert.deepEqual([...tokenizer.encode("ab<tool_call>a<|im_end|>")].slice(0, 4), [259, 258, 97, 60]);
  assert.equal(tokenizer.chatDialect, "hermes");
  const messages = [{ role: "user", content: "<|im_end|>" }] as const;
  const control = (ids: Int32Array) => [...ids].filter((token) => tokenizer.isControl(token));
  assert.deepEqual(control(tokenizer.encodeChat(messages)), [257]);
  const tools = [{ name: "f", description: "", parameters: {} }];
  assert.deepEqual([...tokenizer.encodeChat(messages, { tools })], [258, 256]);
  const flagged = loadTokenizer(place(byteLevel({ "tokenizer.ggml.add_bos_token": { type: "bool", value: true } })));
  assert.equal(flagged.bosId, 256);
});

test("SentencePiece with and without a prefix, user-defined tokens each with a stretch of their own", () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).padStart(2, "0").toUpperCase()}>`);
  const fields = {
    "tokenizer.ggml.model": text("llama"),
    "tokenizer.ggml.tokens": texts(["<unk>", "<s>", "</s>", ...bytes, "\u2581", "a", "\u2581a", "<x>"]),
    "tokenizer.ggml.scores": numbers("float32", [...Array.from({ length: 259 }, () => 0), -3, -2, -1, 0]),
    "tokenizer.ggml.token_type": numbers("int32", [2, 3, 3, ...bytes.map(() => 6), 1, 1, 1, 4]),
  };
  const tokenizer = loadTokenizer(place(fields));
  assert.deepEqual([tokenizer.bosId, tokenizer.eosId], [1, 2]);
  assert.deepEqual([...tokenizer.encode("a<x>a a</s>")].slice(0, 4), [261, 262, 261, 261]);
  assert.ok(!tokenizer.encode("</s><unk><0x41>").some((token) => tokenizer.isControl(token)));
  const bare = loadTokenizer(place({ ...fields, "tokenizer.ggml.add_space_prefix": { type: "bool", value: false } }));
  assert.deepEqual([...bare.encode("a a")], [260, 261]);
  assert.equal(bare.addsLeadingSpace, undefined);
});

test("unknown kinds and rules are refused by name, broken vocabularies by key", () => {
  const refuses = (changes: Record<string, GgufValue>, pattern: RegExp) =>
    assert.throws(
      () => loadTokenizer(place(byteLevel(changes))),
      (error) => error instanceof Failure && error.kind === "input" && pattern.test(error.message),
      String(pattern),
    );
  refuses({ "tokenizer.ggml.model": text("bert") }, /kind "bert" is not supported/);
  refuses({ "tokenizer.ggml.pre": text("kimi-k2") }, /rule "kimi-k2"/);
  refuses({ "tokenizer.ggml.tokens": numbers("int32", [1]) }, /ggml\.tokens/);
  refuses({ "tokenizer.ggml.token_type": numbers("int32", [1]) }, /ggml\.token_type/);
  refuses({ "tokenizer.ggml.scores": numbers("float32", [1]) }, /ggml\.scores/);
  refuses({ "tokenizer.ggml.eos_token_id": id(1000) }, /eos_token_id/);
  refuses({ "tokenizer.ggml.eos_token_id": id(2 ** 32 - 1) }, /no token ends a text/);
  refuses({ "tokenizer.ggml.merges": texts(["a q"]) }, /merge 0 of tokenizer\.ggml\.merges, "a q"/);
  refuses({ "tokenizer.ggml.add_bos_token": text("yes") }, /add_bos_token/);
  assert.throws(() => loadTokenizer(place({})), /carries no vocabulary/);
});
