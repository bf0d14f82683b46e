// The engine over real decoders: known text, equality to the bit, and what goes wrong with files.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels, machine, setThreads, type Floats } from "../kernels/index.ts";
import {
  addLora,
  countActiveParameters,
  decode,
  loadCheckpoint,
  packedAttention,
  readConfig,
  saveAdapter,
} from "../model/index.ts";
import { collect, type ServedModel } from "../protocol/index.ts";
import { createTape } from "../tensor/index.ts";
import { load, type LoadOptions } from "./load.ts";
import { planModel } from "./plan.ts";
import { createRunner } from "./runner.ts";
import { writeTestCheckpoint } from "./test-checkpoint.ts";

const kernels = loadKernels();
const directory = mkdtempSync(join(tmpdir(), "lianlu-engine-"));
const threadsBefore = machine().threads;
after(() => {
  setThreads(threadsBefore);
  rmSync(directory, { recursive: true });
});

const checkpoint = directory;
await writeTestCheckpoint(directory);
const weights = join(import.meta.dirname, "../../../shared/data/weights");
const request = { input: { messages: [{ role: "user" as const, content: "明月" }] }, maxTokens: 40, seed: 2 };

test("a row's logits are the same to the bit alone, in any batch, chunk and number of threads, and in training's pass", () => {
  const decoder = loadCheckpoint(checkpoint, kernels);
  const vocabSize = decoder.config.vocabSize;
  const lengths = [1, 150, 63, 64, 65];
  const documents = lengths.map((length, line) =>
    Int32Array.from({ length }, (_, index) => (index * 37 + line * 11) % vocabSize),
  );

  const whole = documents.map((ids) => {
    using tape = createTape(kernels, { recording: false });
    const hidden = decode(tape, decoder, ids, Int32Array.from(ids.keys()), packedAttention(new Int32Array(ids.length)));
    return Float32Array.from(decoder.head.apply(tape, hidden).data);
  });

  /** Runs all documents side by side, `rows` rows a step in turn, and compares each row. */
  function compare(rows: number, what: string): void {
    const runner = createRunner(kernels, decoder, 16);
    // Pages in an order that no sequence would have alone.
    const pages = [[9], [3, 12, 1], [7], [4], [2, 15]];
    const computed = lengths.map(() => 0);
    while (computed.some((done, line) => done < lengths[line]!)) {
      const batch: { line: number; position: number }[] = [];
      // Small steps take one row of each document, large ones as many as are left.
      const most = rows > 4 ? rows : 1;
      for (const [line, length] of lengths.entries()) {
        const count = Math.min(most, rows - batch.length, length - computed[line]!);
        for (let index = 0; index < count; index++) batch.push({ line, position: computed[line]!++ });
      }
      const pageTable = new Int32Array(lengths.length * 3);
      for (const [line, own] of pages.entries()) pageTable.set(own, line * 3);
      runner.run(
        {
          ids: Int32Array.from(batch, ({ line, position }) => documents[line]![position]!),
          positions: Int32Array.from(batch, ({ position }) => position),
          sequences: Int32Array.from(batch, ({ line }) => line),
          pageTable,
          maxPages: 3,
          wanted: Int32Array.from(batch.keys()),
        },
        (row, logits: Floats) => {
          const { line, position } = batch[row]!;
          const expected = whole[line]!.subarray(position * vocabSize, (position + 1) * vocabSize);
          assert.deepEqual(logits, expected, `${what}: document ${line}, position ${position}`);
        },
      );
    }
  }
  for (const threads of [1, 2, 4]) {
    setThreads(threads);
    for (const rows of [1, 3, 50, 400]) compare(rows, `${threads} threads, ${rows} rows`);
  }
  setThreads(threadsBefore);
});

test("a checkpoint answers the same alone, in company and in a thread of its own", async (t) => {
  const notes: string[] = [];
  const model = await load(checkpoint, { onNote: (text) => notes.push(text), id: "tiny" });
  assert.equal(model.id, "tiny");
  assert.equal(model.contextLength, 512);
  assert.match(
    notes[0]!,
    /weights [\d.]+ KiB, cache 4.0 MiB \(f16, 128 bytes a token, 32768 tokens\), context 512 of 512/,
  );
  const alone = await collect(model.generate(request));
  assert.ok(alone.text.length > 0);
  const company = await Promise.all(
    Array.from({ length: 9 }, (_, seed) => collect(model.generate({ ...request, seed }))),
  );
  assert.equal(company[2]!.text, alone.text);
  const thread = await load(checkpoint, { worker: true });
  t.after(() => thread.close());
  assert.deepEqual(await collect(thread.generate(request)), alone);
  assert.deepEqual(await thread.score(["床前明月光"]), await model.score(["床前明月光"]));

  const schema = {
    type: "object",
    properties: { title: { type: "string" }, good: { type: "boolean" } },
    required: ["title", "good"],
  };
  for (let seed = 0; seed < 10; seed++) {
    const { text } = await collect(
      model.generate({ ...request, seed, responseFormat: { type: "json_schema", schema } }),
    );
    assert.equal(typeof (JSON.parse(text) as { good: unknown }).good, "boolean");
  }
  await model.close();
});

test("scores are those of the training pass", async () => {
  await checkScores(await load(checkpoint, { kvCache: "f32" }), checkpoint);
});

async function checkScores(model: ServedModel, path: string): Promise<void> {
  const [scored] = await model.score(["明月 the fox"]);
  const decoder = loadCheckpoint(path, kernels);
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.from(scored!.tokens);
  const logits = decoder.head.apply(
    tape,
    decode(tape, decoder, ids, Int32Array.from(ids.keys()), packedAttention(new Int32Array(ids.length))),
  ).data;
  const vocabSize = decoder.config.vocabSize;
  for (let row = 0; row + 1 < ids.length; row++) {
    const values = [...logits.subarray(row * vocabSize, (row + 1) * vocabSize)];
    const expected = values[ids[row + 1]!]! - Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
    assert.ok(Math.abs(scored!.logprobs[row + 1]! - expected) < 1e-9);
  }
}

test("a mixture of experts is served: alone as in company, with the scores of the training pass", async () => {
  const mixture = mkdtempSync(join(directory, "experts-"));
  const experts = { count: 6, perToken: 2, intermediateSize: 24, normalize: true, balance: 0.001 };
  await writeTestCheckpoint(mixture, { family: "qwen3_moe", qkNorm: true, experts });
  const plan = planModel(mixture);
  const active = countActiveParameters(readConfig(mixture));
  // Four experts a layer that a row does not go to.
  assert.equal(plan.parameters - active, 2 * 4 * 3 * 24 * 32);
  assert.ok(plan.weightBytes >= 4 * plan.parameters, "every expert is counted");
  const model = await load(mixture, { kvCache: "f32" });
  const alone = await collect(model.generate(request));
  assert.ok(alone.text.length > 0);
  const company = await Promise.all(
    Array.from({ length: 9 }, (_, seed) => collect(model.generate({ ...request, seed }))),
  );
  assert.equal(company[2]!.text, alone.text);
  await checkScores(model, mixture);

  // Adapters of requests that share a batch, whose rows each expert meets in an order of its own.
  const adapters = ["poet", "clerk"].map((name, index) => {
    const options = { rank: 2, alpha: 8, targets: "all-linear" } as const;
    const pairs = addLora(kernels, loadCheckpoint(mixture, kernels), options, index);
    for (const { b } of pairs) for (let at = 0; at < b.data.length; at++) b.data[at] = Math.sin(at * (index + 2)) / 5;
    const path = mkdtempSync(join(directory, "adapter-"));
    saveAdapter(path, pairs, options, mixture);
    return { name, path };
  });
  for (const { name, path } of adapters) await model.loadAdapter(name, path);
  const mixed = await Promise.all(
    [{}, { adapter: "poet" }, { adapter: "clerk" }, {}, { adapter: "poet" }].map((more) =>
      collect(model.generate({ ...request, ...more })),
    ),
  );
  for (const [index, { path }] of adapters.entries()) {
    const only = await load(mixture, { kvCache: "f32", adapter: path });
    const { text } = await collect(only.generate(request));
    assert.notEqual(text, alone.text);
    assert.equal(mixed[1 + index]!.text, text);
    await only.close();
  }
  assert.equal(mixed[4]!.text, mixed[1]!.text);
  assert.equal(mixed[0]!.text, alone.text);
  assert.equal(mixed[3]!.text, alone.text);
});

test("an adapter changes the answers", async () => {
  const decoder = loadCheckpoint(checkpoint, kernels);
  const options = { rank: 2, alpha: 4, targets: ["wqkv", "w2"] };
  const pairs = addLora(kernels, decoder, options, 1);
  for (const { b } of pairs) for (let index = 0; index < b.data.length; index++) b.data[index] = Math.sin(index);
  const adapter = mkdtempSync(join(directory, "adapter-"));
  saveAdapter(adapter, pairs, options, checkpoint);
  const [plain, changed] = await Promise.all([load(checkpoint), load(checkpoint, { adapter })]);
  assert.notEqual((await collect(changed.generate(request))).text, (await collect(plain.generate(request))).text);
  await assert.rejects(load(checkpoint, { adapter: directory }), {
    name: "Failure",
    kind: "input",
    message: /adapter_config/,
  });
});

test("guesses from the text or a smaller model change no answer", async () => {
  const ask = async (speculation: NonNullable<LoadOptions["speculation"]>) => {
    const model = await load(checkpoint, { speculation });
    const greedy = { ...request, temperature: 0, maxTokens: 60, ignoreEos: true };
    const { text } = await collect(model.generate(greedy));
    const { draftedTokens, acceptedTokens } = await model.statistics();
    await model.close();
    return { text, draftedTokens, acceptedTokens };
  };
  const plain = await ask("none");
  assert.equal((await ask("prompt-lookup")).text, plain.text);
  // The model guesses for itself, and is right but where it would have ended.
  const drafted = await ask({ draft: checkpoint });
  assert.equal(drafted.text, plain.text);
  assert.ok(drafted.acceptedTokens > 0.8 * drafted.draftedTokens && drafted.draftedTokens > 40);
  assert.equal(plain.draftedTokens, 0);
  await assert.rejects(ask({ draft: join(weights, "llama2c/stories260K.bin") }), { name: "Failure", kind: "input" });
});

test("files and options that do not fit are refused by name", async () => {
  const broken = (change: (path: string) => void): Promise<ServedModel> => {
    const copy = mkdtempSync(join(directory, "broken-"));
    for (const file of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
      cpSync(join(checkpoint, file), join(copy, file));
    change(copy);
    return load(copy);
  };
  await assert.rejects(
    broken((copy) => rmSync(join(copy, "tokenizer.json"))),
    { name: "Failure", message: /tokenizer/ },
  );
  await assert.rejects(
    broken((copy) => {
      const path = join(copy, "model.safetensors");
      writeFileSync(path, readFileSync(path).subarray(0, 20_000));
    }),
    { name: "Failure", kind: "input", message: /model.safetensors/ },
  );
  await assert.rejects(load(join(directory, "absent")), { name: "Failure", kind: "input" });
  await assert.rejects(load(checkpoint, { maxContext: 1000 }), {
    name: "Failure",
    kind: "usage",
    message: /1000 .* between 1 and 512/,
  });
  const short = await load(checkpoint, { maxContext: 64 });
  assert.equal(short.contextLength, 64);
});

const skip = existsSync(join(weights, "GOLDEN.json")) ? false : `the weights are not at ${weights}`;

test("stories260K writes its published text, token by token through the cache", { skip }, async () => {
  const golden = (
    JSON.parse(readFileSync(join(weights, "GOLDEN.json"), "utf8")) as Record<
      string,
      { run_c_greedy_text: string; run_c_steps: number }
    >
  ).stories260K!;
  const tokenizer = join(weights, "llama2c/tok512.bin");
  const model = await load(join(weights, "llama2c/stories260K.bin"), { tokenizer });
  const { text } = await collect(
    model.generate({ input: { prompt: "Once upon a time" }, temperature: 0, maxTokens: golden.run_c_steps - 5 }),
  );
  assert.ok(golden.run_c_greedy_text.startsWith(`Once upon a time${text}`), text);
  assert.ok(text.length > golden.run_c_greedy_text.length - 30);
  await assert.rejects(load(join(weights, "llama2c/stories15M.bin"), { tokenizer }), {
    message: /tokenizer has 512 ids and the model 32000/,
  });
});
