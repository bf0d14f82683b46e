import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { loadTokenizer } from "./load.ts";
import { bpeFixtures, createRandom, gpt2Json, randomText, trainSmall, unlessThere } from "./test-support.ts";
import { readTokenizerJson } from "./tokenizer-json.ts";
import { saveTokenizer } from "./tokenizer-json-write.ts";

const directory = mkdtempSync(join(tmpdir(), "tokenizer-json-"));
after(() => rmSync(directory, { recursive: true }));
let files = 0;

/** A directory with a tokenizer.json, and a tokenizer_config.json where one is given. */
function place(json: string, config?: unknown): string {
  const dir = join(directory, String(files++));
  mkdirSync(dir);
  writeFileSync(join(dir, "tokenizer.json"), json);
  if (config !== undefined) writeFileSync(join(dir, "tokenizer_config.json"), JSON.stringify(config));
  return dir;
}

test("what is saved reads back equal, for both splits", async () => {
  for (const data of [
    await trainSmall("han"),
    { ...(await trainSmall("words")), bosId: undefined, padId: undefined },
  ]) {
    const dir = place("");
    saveTokenizer(dir, data);
    assert.deepEqual(readTokenizerJson(join(dir, "tokenizer.json")), data);
    assert.equal(loadTokenizer(dir).id, createByteLevelTokenizer(data).id);
  }
});

test("GPT-2 in both spellings of merges, and written anew", { skip: unlessThere(bpeFixtures) }, () => {
  const tokenizer = loadTokenizer(place(gpt2Json()));
  const spelledAsPairs = loadTokenizer(place(gpt2Json((merge) => merge.split(" "))));
  const rewritten = place("");
  saveTokenizer(rewritten, readTokenizerJson(join(place(gpt2Json()), "tokenizer.json")));
  const readAgain = loadTokenizer(rewritten);
  assert.equal(readAgain.id, tokenizer.id);
  const random = createRandom(1);
  for (let round = 0; round < 100; round++) {
    const text = randomText(random);
    assert.deepEqual(spelledAsPairs.encode(text), tokenizer.encode(text));
    assert.deepEqual(readAgain.encode(text), tokenizer.encode(text));
  }
});

/** The parts of a small file, for changing one at a time. */
async function smallFile(): Promise<Record<string, any>> {
  const dir = place("");
  saveTokenizer(dir, await trainSmall());
  return JSON.parse(readFileSync(join(dir, "tokenizer.json"), "utf8"));
}

test("BOS, EOS and padding come from the configuration, else from the template and usual names", async () => {
  const file = await smallFile();
  const plain = loadTokenizer(place(JSON.stringify(file)));
  assert.deepEqual([plain.bosId, plain.eosId, plain.padId], [1, 2, undefined]);
  const configured = loadTokenizer(
    place(JSON.stringify({ ...file, post_processor: null }), {
      bos_token: null,
      eos_token: { content: "<|im_end|>" },
      pad_token: "<unk>",
    }),
  );
  assert.deepEqual([configured.bosId, configured.eosId, configured.padId, configured.stopIds], [undefined, 4, 0, [4]]);
});

test("a configuration's EOS is a control token even where the vocabulary lists it as a word", async () => {
  const file = await smallFile();
  file["added_tokens"] = [];
  const tokenizer = loadTokenizer(place(JSON.stringify(file), { eos_token: "</s>" }));
  assert.ok(tokenizer.isControl(2));
  assert.ok(!tokenizer.encode("</s>").includes(2));
});

test("BOS stands before texts as the file or the configuration say", async () => {
  const file = await smallFile();
  const bos = (post: unknown, config?: unknown) =>
    loadTokenizer(place(JSON.stringify({ ...file, post_processor: post }), config)).bosId;
  const configured = { bos_token: "<s>", eos_token: "</s>" };
  assert.equal(bos(file["post_processor"]), 1);
  assert.equal(bos(file["post_processor"], { ...configured, add_bos_token: false }), undefined);
  assert.equal(bos(null, configured), undefined);
  assert.equal(bos(null, { ...configured, add_bos_token: true }), 1);
  assert.equal(bos(null, { ...configured, tokenizer_class: "LlamaTokenizerFast" }), 1);
  const template = { ...configured, add_bos_token: false, chat_template: "{{ bos_token }}" };
  assert.deepEqual([...loadTokenizer(place(JSON.stringify(file), template)).encodeChat([])], [1]);
});

test("ids that end an answer come from generation_config.json and config.json too", async () => {
  const dir = place(JSON.stringify(await smallFile()));
  writeFileSync(join(dir, "generation_config.json"), JSON.stringify({ eos_token_id: [2, 7, 1_000_000, "x"] }));
  writeFileSync(join(dir, "config.json"), JSON.stringify({ eos_token_id: 8 }));
  assert.deepEqual(loadTokenizer(dir).stopIds, [2, 4, 7, 8]);
});

test("added tokens take spaces along, or stand alone, as their flags say", async () => {
  const file = await smallFile();
  const add = (id: number, content: string, flags: object) =>
    file["added_tokens"].push({ id, content, special: false, normalized: false, ...flags });
  add(500, "<a>", { lstrip: true });
  add(501, "<b>", { rstrip: true });
  add(502, "word", { single_word: true });
  const tokenizer = loadTokenizer(place(JSON.stringify(file)));
  assert.deepEqual([...tokenizer.encode("  <a><b>  <a>")], [500, 501, 500]);
  assert.deepEqual([...tokenizer.encode("word")], [502]);
  assert.ok(!tokenizer.encode("words sword wordé").includes(502));
});

test("a normal form and a prefix space are applied", async () => {
  const file = await smallFile();
  const composed = loadTokenizer(place(JSON.stringify({ ...file, normalizer: { type: "NFC" } })));
  assert.equal(composed.decode(composed.encode("e\u0301")), "\u00e9");
  file["pre_tokenizer"] = { type: "ByteLevel", add_prefix_space: true };
  const spaced = loadTokenizer(place(JSON.stringify(file)));
  assert.equal(spaced.decode(spaced.encode("the")), " the");
});

test("the default of several chat templates is used", async () => {
  const file = JSON.stringify(await smallFile());
  const named = [
    { name: "rag", template: "no" },
    { name: "default", template: "yes" },
  ];
  const tokenizer = loadTokenizer(place(file, { chat_template: named }));
  assert.equal(tokenizer.decode(tokenizer.encodeChat([])), "yes");
});

test("a key like __proto__ is a token like any other", async () => {
  const data = await trainSmall();
  const dir = place("");
  const token = { bytes: new Uint8Array(Buffer.from("__proto__")), kind: "merged" as const };
  saveTokenizer(dir, { ...data, tokens: [...data.tokens, token] });
  const tokenizer = loadTokenizer(dir);
  assert.equal(tokenizer.decode([data.tokens.length]), "__proto__");
});

test("bad files are refused with the file and the part", async () => {
  const refuses = (dir: string, message: RegExp) =>
    assert.throws(
      () => loadTokenizer(dir),
      (error) => error instanceof Failure && error.kind === "input" && message.test(error.message),
      String(message),
    );
  const changed = async (change: (file: Record<string, any>) => void) => {
    const file = await smallFile();
    change(file);
    return place(JSON.stringify(file));
  };
  refuses(join(directory, "nowhere"), /does not exist/);
  refuses(directory, /holds neither/);
  refuses(place("{"), /tokenizer\.json is not JSON/);
  refuses(place("{}"), /field model/);
  refuses(await changed((file) => (file["model"].type = "WordPiece")), /"WordPiece" is not supported/);
  refuses(await changed((file) => (file["model"].dropout = 0.1)), /dropout/);
  refuses(await changed((file) => (file["model"].end_of_word_suffix = "</w>")), /suffix/);
  refuses(await changed((file) => file["model"].merges.push("q Q")), /merge \d+, "q Q"/);
  refuses(await changed((file) => file["model"].merges.push(["a"])), /merge \d+/);
  refuses(await changed((file) => delete file["model"].vocab["!"]), /no token for byte 33|merge/);
  refuses(await changed((file) => (file["model"].vocab["!"] = -1)), /id -1/);
  refuses(await changed((file) => (file["model"].vocab["!"] = 20)), /id 20 is given to two tokens/);
  refuses(await changed((file) => (file["model"].vocab["!"] = 2 ** 30)), /id 1073741824/);
  refuses(await changed((file) => (file["pre_tokenizer"] = { type: "UnicodeScripts" })), /"UnicodeScripts"/);
  refuses(await changed((file) => (file["decoder"] = { type: "WordPiece" })), /"WordPiece"/);
  refuses(await changed((file) => (file["pre_tokenizer"].pretokenizers[0].pattern = { Regex: "a++" })), /"a\+\+"/);
  refuses(await changed((file) => (file["pre_tokenizer"].pretokenizers[0].behavior = "Torn")), /Torn/);
  refuses(await changed((file) => (file["normalizer"] = { type: "BertNormalizer" })), /"BertNormalizer"/);
  writeFileSync(join(directory, "tokenizer.text"), "");
  refuses(join(directory, "tokenizer.text"), /no tokenizer that can be read/);
});
