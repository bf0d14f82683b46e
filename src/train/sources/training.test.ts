// Pre-training from several sources: losses by name, an end by epochs, going on from a checkpoint, and the same bytes
// whether or not it was stopped on the way.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { writeArtifact } from "../../formats/manifest.ts";
import { createTokenWriter } from "../../formats/token-shards.ts";
import { readConfig } from "../../model/index.ts";
import { runJob } from "../../protocol/job.ts";
import { createByteLevelTokenizer, saveTokenizer, trainBpe } from "../../tokenizer/index.ts";
import { pretrain, type PretrainOptions } from "../pretrain.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-sources-"));
after(() => rmSync(directory, { recursive: true }));
const [weather, numbers, others] = ["weather", "numbers", "others"].map((name) => join(directory, name)) as [
  string,
  string,
  string,
];

const words = { weather: ["sun", "rain", "wind", "snow"], numbers: ["one", "two", "three", "four"] };
const textsOf = (list: readonly string[]): string[] =>
  Array.from({ length: 40 }, (_, index) =>
    Array.from({ length: 12 + (index % 9) }, (_unused, place) => list[(index * place + place) % 4]).join(" "),
  );

/** Writes the tokens of texts; an eighth of them are for validation. */
async function writeTokens(out: string, texts: readonly string[], vocabSize: number): Promise<void> {
  async function* stream() {
    yield* textsOf(words.weather);
    yield* textsOf(words.numbers);
  }
  const data = await runJob(trainBpe(stream(), { vocabSize }));
  const tokenizer = createByteLevelTokenizer(data);
  await writeArtifact(out, { kind: "tokens", options: {}, seed: 0 }, (partial) => {
    saveTokenizer(partial, data);
    for (const split of ["train", "validation"] as const) {
      const writer = createTokenWriter(partial, split, { vocabSize: tokenizer.vocabSize, tokenizerId: tokenizer.id });
      for (const [index, text] of texts.entries()) {
        if ((index % 8 === 0) !== (split === "validation")) continue;
        writer.append(Int32Array.of(tokenizer.bosId!, ...tokenizer.encode(text), tokenizer.eosId));
      }
      writer.close();
    }
    return Promise.resolve({});
  });
}

before(async () => {
  await writeTokens(weather, textsOf(words.weather), 290);
  await writeTokens(numbers, textsOf(words.numbers), 290);
  await writeTokens(others, textsOf(words.numbers), 280);
});

const options = {
  tokens: [
    { name: "weather", tokens: weather, weight: 0.75 },
    { name: "numbers", tokens: numbers, weight: 0.25 },
  ],
  model: { family: "qwen3", hiddenSize: 32, layers: 2, heads: 2, kvHeads: 1, headDim: 32, intermediateSize: 48 },
  length: 24,
  lengths: [
    { length: 8, share: 0.5 },
    { length: 24, share: 0.5 },
  ],
  batchTokens: 48,
  accumulate: 3,
  batchWarmupSteps: 4,
  checkpointing: 0.5,
  until: { steps: 16 },
  validateEvery: 8,
  snapshotEvery: 3,
  seed: 4,
} satisfies Omit<PretrainOptions, "out">;

const fingerprint = (out: string): string[] =>
  ["model.safetensors", "training-state.safetensors", "metrics.jsonl"].map((name) =>
    createHash("sha256")
      .update(readFileSync(join(out, name)))
      .digest("hex"),
  );

interface Row {
  tokens: number;
  validationLoss?: number;
  parts: Record<string, number>;
}

const rowsOf = (out: string): Row[] =>
  readFileSync(join(out, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

test("a mix with a curriculum ends with the same bytes when it was stopped on the way", async () => {
  const alone = join(directory, "alone");
  const result = await runJob(pretrain({ ...options, out: alone }));
  assert.deepEqual(Object.keys(result.validationLosses), ["weather", "numbers"]);
  const { weather: first, numbers: second } = result.validationLosses;
  assert.ok(Math.abs(result.validationLoss - (0.75 * first! + 0.25 * second!)) < 1e-12);
  const rows = rowsOf(alone);
  for (const { parts } of rows) assert.ok(parts["loss/weather"]! > 0 && parts["loss/numbers"]! > 0);
  assert.ok(rows.at(-1)!.parts["validation/loss/numbers"]! > 0);
  // One batch in the first step, three from the fifth on.
  assert.equal(rows[0]!.tokens, 48);
  assert.equal(rows.at(-1)!.tokens - rows.at(-2)!.tokens, 3 * 48);

  const stopped = join(directory, "stopped");
  for (const at of [4, 10]) {
    const abort = new AbortController();
    const job = pretrain({ ...options, out: stopped, signal: abort.signal });
    await assert.rejects(
      runJob(job, (event) => {
        if (event.type === "progress" && event.done === at) abort.abort(new Error("stopped"));
      }),
      /stopped/,
    );
  }
  await runJob(pretrain({ ...options, out: stopped }));
  assert.deepEqual(fingerprint(stopped), fingerprint(alone));
});

test("training ends when the epochs of all sources are used up", async () => {
  const out = join(directory, "epochs");
  const tokens = [
    { name: "weather", tokens: weather, epochs: 2 },
    { name: "numbers", tokens: numbers, epochs: 0.5 },
  ];
  const { steps } = await runJob(pretrain({ ...options, batchWarmupSteps: 0, tokens, out, until: "epochs" }));
  const { options: shaped } = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8")) as {
    options: { steps: number };
  };
  assert.equal(steps, shaped.steps);
  const seen = rowsOf(out).at(-1)!.tokens;
  assert.ok(seen > 1500 && seen % (3 * 48) === 0, `${seen} tokens`);
  await assert.rejects(
    runJob(pretrain({ ...options, out: join(directory, "endless"), until: "epochs" })),
    /the source weather has no epochs/,
  );
});

test("training goes on from a checkpoint, whose tokenizer and positions must do", async () => {
  const from = join(directory, "alone");
  const more = { ...options, lengths: undefined, from, until: { steps: 3 } };
  const { lengths: _lengths, ...plain } = more;
  const out = join(directory, "longer");
  const { validationLosses } = await runJob(pretrain({ ...plain, tokens: numbers, out }));
  assert.deepEqual(readConfig(out), readConfig(from));
  assert.ok(validationLosses.tokens! > 0);
  const firstLoss = (JSON.parse(readFileSync(join(out, "metrics.jsonl"), "utf8").split("\n")[0]!) as { loss: number })
    .loss;
  assert.ok(firstLoss < 0.95 * Math.log(290), `${firstLoss} is not the loss of fresh weights`);
  const refused = async (changes: Partial<PretrainOptions>, why: RegExp): Promise<void> =>
    assert.rejects(runJob(pretrain({ ...plain, tokens: numbers, out: join(directory, "refused"), ...changes })), why);
  await refused({ tokens: others }, /not made with the tokenizer of/);
  await refused({ length: 25 }, /has 24 positions/);
  await refused(
    { tokens: [...options.tokens.slice(0, 1), { name: "others", tokens: others, weight: 1 }] },
    /another tokenizer than/,
  );
});
