// Bad input as users meet it: what each command says and with which exit code, and what it leaves behind.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { writeTestCheckpoint } from "../engine/test-checkpoint.ts";
import { jsonLines, outcome, refused, run, start } from "./test-command.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-bad-input-"));
const place = (name: string): string => join(folder, name);
const [raw, corpus, tokens, base, dialogues] = ["raw.jsonl", "corpus", "tokens", "base", "dialogues.jsonl"].map(
  place,
) as [string, string, string, string, string];
const smallModel = "--hidden 16 --heads 2 --kv-heads 1 --layers 1 --intermediate 16 --length 64 --batch-tokens 64";
const pretrain = (out: string, ...more: string[]): string[] =>
  `pretrain ${tokens} --out ${out} ${smallModel}`.split(" ").concat(more);
const finetune = (model: string, out: string, ...more: string[]): string[] =>
  `finetune ${model} --data ${dialogues} --out ${out} --steps 2 --rank 2`.split(" ").concat(more);
const ask = (model: string): string[] => ["chat", model, "--prompt", "月", "--max-tokens", "4"];

const brokenLine = '{"id": "broken", "text": ';
const invalidLine = Buffer.from([0x22, 0xff, 0x22]);
const sentence = (index: number): string =>
  `第${"一二三四五六七八九十"[index % 10]}夜${"春江花月松风"[index % 6]}，${"白红青黄"[index % 4]}云千里${index}。`;

before(async () => {
  const good = Array.from({ length: 80 }, (_, index) =>
    JSON.stringify({ id: `d${index}`, text: `${sentence(index)}${sentence(index * 7 + 3)}` }),
  );
  writeFileSync(raw, Buffer.concat([Buffer.from(`${good.join("\n")}\n${brokenLine}\n`), invalidLine]));
  const messages = [
    { role: "user", content: "月" },
    { role: "assistant", content: "明" },
  ];
  writeFileSync(dialogues, `${JSON.stringify({ messages })}\n`.repeat(8));
  mkdirSync(base);
  await writeTestCheckpoint(base);
  const data = await run(["data", raw, "--out", corpus, "--rules", "none", "--json"]);
  assert.equal(data.code, 0, data.errors);
  const tokenized = await run([
    "tokenize",
    corpus,
    "--out",
    tokens,
    "--vocab-size",
    "300",
    "--validation-share",
    "0.2",
  ]);
  assert.equal(tokenized.code, 0, tokenized.errors);
});
after(() => rmSync(folder, { recursive: true }));

/** A copy of the checkpoint with something done to it. */
function spoilt(name: string, spoil: (dir: string) => void): string {
  const dir = place(name);
  cpSync(base, dir, { recursive: true });
  spoil(dir);
  return dir;
}
function editConfig(dir: string, changes: object): void {
  const path = join(dir, "config.json");
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), ...changes }));
}

test("invalid UTF-8 and broken JSON are quarantined with file and offset; an empty corpus is refused", async () => {
  const quarantine = readFileSync(join(corpus, "quarantine.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { file: string; offset: number; reason: string });
  const size = readFileSync(raw).length;
  assert.deepEqual(
    quarantine.map(({ file, offset, reason }) => [file, offset, reason.split(":")[0]]),
    [
      ["raw.jsonl", size - invalidLine.length - 1 - brokenLine.length, "broken JSON"],
      ["raw.jsonl", size - invalidLine.length, "invalid UTF-8"],
    ],
  );
  writeFileSync(place("empty.jsonl"), "\n");
  await refused(["data", place("empty.jsonl"), "--out", place("none")], 3, /no records/);
  cpSync(corpus, place("hollow"), { recursive: true });
  rmSync(join(place("hollow"), "documents-00000.jsonl"));
  await refused(["tokenize", place("hollow"), "--out", place("none")], 3, /hollow.*documents/s);
  assert.ok(!existsSync(place("none")) && !existsSync(place("none.partial")));
});
test("a truncated, a corrupt and a mismatched checkpoint, and one of an unknown architecture", async () => {
  const cut = spoilt("cut", (dir) => truncateSync(join(dir, "model.safetensors"), 20_000));
  await refused(ask(cut), 3, /cut\/model\.safetensors/);
  await refused(finetune(cut, place("none")), 3, /cut\/model\.safetensors/);
  const noise = spoilt("noise", (dir) => writeFileSync(join(dir, "model.safetensors"), Buffer.alloc(5_000, 7)));
  await refused(["quantize", noise, "--out", place("none")], 3, /noise\/model\.safetensors/);
  await refused(["show", noise], 3, /noise\/model\.safetensors/);
  const wide = spoilt("wide", (dir) => editConfig(dir, { intermediate_size: 72 }));
  await refused(["serve", wide, "--port", "0"], 3, /tensor model\.layers\.0\.feed_forward\.w1\.weight is \[64, 32\]/);
  const foreign = spoilt("foreign", (dir) => editConfig(dir, { model_type: "mamba", architectures: ["Mamba"] }));
  await refused(ask(foreign), 3, /mamba/i);
});

test("a tokenizer from another model", async () => {
  const other = spoilt("other", (dir) => {
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(tokens, name), join(dir, name));
    const path = join(dir, "tokenizer.json");
    const tokenizer = JSON.parse(readFileSync(path, "utf8")) as { model: { vocab: Record<string, number> } };
    for (let id = 300; id < 400; id++) tokenizer.model.vocab[`x${id}`] = id;
    writeFileSync(path, JSON.stringify(tokenizer));
  });
  await refused(ask(other), 3, /tokenizer has 400 ids and the model/);
  await refused(finetune(other, place("none")), 3, /tokenizer has 400 tokens and the model/);
  await refused(["quantize", base, "--out", place("none"), "--tokens", tokens], 3, /another tokenizer/);
  cpSync(tokens, place("mixed"), { recursive: true });
  cpSync(join(base, "tokenizer.json"), join(place("mixed"), "tokenizer.json"));
  await refused(["pretrain", place("mixed"), "--out", place("none"), "--steps", "1"], 3, /another tokenizer/);
});

/** Every write into an open file fails as on a full disk; the workers of a command load this, too. */
const fullDisk = `data:text/javascript,${encodeURIComponent(`
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  fs.writeSync = () => { throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write" }); };
  syncBuiltinESMExports();`)}`;

test("a full disk: nothing half-written stays, and training goes on when there is room", async () => {
  const options = { node: ["--import", fullDisk] };
  for (const [name, ...words] of [
    ["full-corpus", "data", raw, "--rules", "none"],
    ["full-tokens", "tokenize", corpus, "--vocab-size", "300"],
    ["full-quantized", "quantize", base],
  ] as [string, ...string[]][]) {
    await refused([...words, "--out", place(name)], 4, /no space left on the disk\nFree some space/, options);
  }
  const steps = ["--steps", "4", "--snapshot-every", "2"];
  await refused(pretrain(place("full-base"), ...steps), 4, /full-base(\.training\/snapshots)?: no space left/, options);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("full-")),
    ["full-base.training"],
  );
  const again = await run(pretrain(place("full-base"), ...steps));
  assert.equal(again.code, 0, again.errors);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("full-")),
    ["full-base"],
  );
});

test("no write permission", async (t) => {
  const isRoot = process.getuid?.() === 0;
  const user = isRoot ? 65_534 : undefined;
  // Root may write everywhere; another user must be able to read this checkout.
  if (isRoot && spawnSync(process.execPath, ["--check", import.meta.filename], { uid: user! }).status !== 0) {
    t.skip("root may write everywhere, and nobody else may read the code");
    return;
  }
  const options = user === undefined ? {} : { user };
  chmodSync(folder, 0o555);
  try {
    const data = ["data", raw, "--rules", "none", "--out", place("denied")];
    await refused(data, 4, /denied\.partial: permission denied\nChoose another place/, options);
    await refused(pretrain(place("denied"), "--steps", "1"), 4, /denied\.training: permission denied/, options);
  } finally {
    chmodSync(folder, 0o755);
  }
});

test("numbers that break down in training name step and tensor, with exit code 5", async () => {
  const broken = spoilt("broken", (dir) => {
    const path = join(dir, "model.safetensors");
    const bytes = readFileSync(path);
    // The last four bytes are one number of the last tensor in the file.
    bytes.writeFloatLE(Number.NaN, bytes.length - 4);
    writeFileSync(path, bytes);
  });
  const words = finetune(broken, place("none"));
  await refused(words, 5, /Step 1: the loss is NaN; \S+ holds a number that is not finite.\nNo snapshot/);
  await refused(ask(broken), 5, /not a number/);
});

test("a place that holds something else is refused before any work, and left alone", async () => {
  mkdirSync(place("mine"));
  writeFileSync(place("mine/precious"), "1");
  const message = /mine holds other files, and one of kind "\w+" would take its place\nChoose another/;
  const out = ["--out", place("mine")];
  for (const words of [
    ["data", raw, ...out],
    ["tokenize", corpus, ...out],
    pretrain(place("mine"), "--steps", "100000"),
    finetune(base, place("mine")),
    finetune(base, place("unused"), "--merged", place("mine")),
    ["quantize", base, ...out],
    ["agent", base, ...out],
  ]) {
    await refused(words, 2, message);
  }
  assert.deepEqual(readdirSync(place("mine")), ["precious"]);
  assert.ok(!existsSync(place("mine.training")) && !existsSync(place("unused.training")));
  await refused(finetune(base, place("same"), "--merged", place("same/")), 2, /the place of the adapter/);
});

test("files for directories, directories of another kind, and what is not there", async () => {
  await refused(["tokenize", raw, "--out", place("none")], 3, /no finished corpus directory/);
  await refused(["pretrain", corpus, "--out", place("none"), "--steps", "1"], 3, /of kind "corpus", expected "tokens"/);
  await refused(["quantize", base, "--out", place("none"), "--tokens", raw], 3, /has no validation-00000\.bin/);
  await refused(["finetune", base, "--data", raw + "-none", "--out", place("none"), "--steps", "1"], 3, /no such file/);
  await refused(["show", place("nowhere")], 3, /nowhere is no directory/);
  await refused(["show"], 2, /expected 1 argument/);
  await refused(["shwo"], 2, /did you mean show\?/);
});

test("a second process does not train in the same place, and a quantized model is not tuned as a whole", async () => {
  const child = start(pretrain(place("busy"), "--steps", "100000", "--json"));
  const ended = outcome(child);
  await once(child.stdout!, "data");
  for (let tries = 0; tries < 500 && !existsSync(place("busy.training")); tries++) await sleep(10);
  await refused(pretrain(place("busy"), "--steps", "100000"), 4, /process \d+ is writing \S+busy\nWait/);
  child.kill("SIGINT");
  assert.equal((await ended).code, 130);
  assert.equal((await run(["quantize", base, "--out", place("small")])).code, 0);
  const whole = ["finetune", place("small"), "--data", dialogues, "--out", place("whole"), "--steps", "2"];
  await refused([...whole, "--method", "full"], 2, /small is quantized/);
  await refused([...whole, "--method", "full", "--rank", "2", "--dora"], 2, /--rank, --dora are options of adapters/);
  assert.ok(!existsSync(place("whole.training")));
  const onto = ["pretrain", tokens, "--from", base, "--out", `${base}/`, "--steps", "1"];
  await refused(onto, 2, /place of the model itself/);
});

test("a model that does not fit into memory is refused before it is made", async () => {
  const huge = pretrain(
    place("huge"),
    "--steps",
    "1",
    "--hidden",
    "16384",
    "--layers",
    "256",
    "--intermediate",
    "65536",
    "--heads",
    "64",
  );
  const { code, errors } = await run(huge);
  assert.equal(code, 4, errors);
  assert.match(errors, /Training takes [\d.]+ GiB of memory \(weights [^)]+\); [\d.]+ GiB can be had\.\n/);
  assert.match(errors, /What would fit: --layers \d|Not enough by itself: .*Take a smaller model/);
  assert.ok(!existsSync(place("huge.training")));
});

test("--json says errors as a line of JSON", async () => {
  const failed = await run(["tokenize", raw, "--out", place("none"), "--json"]);
  assert.equal(failed.code, 3);
  assert.equal((jsonLines(failed).at(-1)!["error"] as { kind: string }).kind, "input");
});

test("Ctrl-C stops training with exit code 130; the same command goes on, also with a slash", async () => {
  const out = place("stopped");
  const words = (dir: string): string[] => pretrain(dir, "--steps", "1500", "--snapshot-every", "100", "--json");
  const child = start(words(out));
  child.stdout!.once("data", () => {
    child.stdout!.on("data", (piece: Buffer) => piece.includes('"done":20') && child.kill("SIGINT"));
  });
  const stopped = await outcome(child);
  assert.equal(stopped.code, 130, stopped.errors);
  const saved = /Step (\d+) is saved; the same command goes on/.exec(stopped.out)?.[1];
  assert.ok(Number(saved) >= 20 && Number(saved) < 1500, stopped.out.slice(-500));
  assert.ok(!existsSync(out));
  const again = await run(words(`${out}/`));
  assert.equal(again.code, 0, again.errors);
  const going = jsonLines(again).find(({ text }) => String(text).startsWith("Going on"));
  assert.equal(going!["text"], `Going on from step ${saved} of 1500.`);
  assert.ok(existsSync(join(out, "manifest.json")) && !existsSync(`${out}.training`));
});
