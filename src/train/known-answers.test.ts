// stories260K and stories15M, trained and run by others: text, logits, losses. The weights are not part of the repository.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { decode, loadCheckpoint, makeTrainable, namedTensors, packedAttention, type Decoder } from "../model/index.ts";
import { createTape, rowsOf, type Tape } from "../tensor/index.ts";
import { loadTokenizer } from "../tokenizer/index.ts";
import { createAdamW } from "./optimizer.ts";
import { createBatch, placeDocument } from "./batch.ts";
import { runBatch } from "./step.ts";

const weights = join(import.meta.dirname, "../../../shared/data/weights");
const skip = existsSync(join(weights, "GOLDEN.json")) ? false : `the weights are not at ${weights}`;

interface Golden {
  ids: number[];
  logits_last_first8: number[];
  argmax_each_pos: number[];
  logsumexp_last: number;
  greedy_from_bos_40: number[];
  run_c_greedy_text: string;
  run_c_steps: number;
}
const golden = (name: string): Golden =>
  (JSON.parse(readFileSync(join(weights, "GOLDEN.json"), "utf8")) as Record<string, Golden>)[name]!;

/** Logits of every position, [tokens][vocab]. */
function logitsOf(tape: Tape, decoder: Decoder, ids: readonly number[]): Float32Array[] {
  const positions = Int32Array.from(ids, (_, index) => index);
  const hidden = decode(tape, decoder, Int32Array.from(ids), positions, packedAttention(new Int32Array(ids.length)));
  const logits = decoder.head.apply(tape, hidden);
  const vocab = decoder.config.vocabSize;
  const rows = Array.from({ length: rowsOf(logits) }, (_, row) =>
    Float32Array.from(logits.data.subarray(row * vocab, (row + 1) * vocab)),
  );
  tape.reset();
  return rows;
}

function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}

/** BOS and the tokens that a greedy model adds, recomputing the whole text for each. */
function greedy(tape: Tape, decoder: Decoder, length: number): number[] {
  const ids = [1];
  while (ids.length < length) ids.push(argmax(logitsOf(tape, decoder, ids).at(-1)!));
  return ids;
}

function checkLogits(kernels: Kernels, name: string): void {
  using tape = createTape(kernels, { recording: false });
  const decoder = loadCheckpoint(join(weights, "llama2c", `${name}.bin`), kernels);
  const expected = golden(name);
  const rows = logitsOf(tape, decoder, expected.ids);
  assert.deepEqual(rows.map(argmax), expected.argmax_each_pos);
  const last = rows.at(-1)!;
  for (const [index, value] of expected.logits_last_first8.entries()) {
    assert.ok(Math.abs(last[index]! - value) <= 1e-4, `logit ${index}: ${last[index]}, expected ${value}`);
  }
  const sum = last.reduce((total, value) => total + Math.exp(value - 10), 0);
  assert.ok(Math.abs(Math.log(sum) + 10 - expected.logsumexp_last) <= 1e-4);
}

for (const name of ["native", "reference"] as const) {
  test(`stories260K: logits within 1e-4 of the golden ones, by ${name} kernels`, { skip }, () => {
    checkLogits(loadKernels(name), "stories260K");
  });

  test(`stories260K: ten steps of AdamW follow the oracle within 5e-4, by ${name} kernels`, { skip }, () => {
    const kernels = loadKernels(name);
    const decoder = loadCheckpoint(join(weights, "llama2c/stories260K.bin"), kernels);
    using inference = createTape(kernels, { recording: false });
    const ids = greedy(inference, decoder, 65);
    assert.deepEqual(ids.slice(0, 41), golden("stories260K").greedy_from_bos_40);

    const parameters = [...namedTensors(decoder).values()];
    makeTrainable(kernels, parameters);
    const optimizer = createAdamW(kernels, parameters, {
      beta1: 0.9,
      beta2: 0.95,
      eps: 1e-8,
      weightDecay: 0.1,
      decayVectors: true,
      clip: 0,
    });
    const sequence = [1, ...ids.slice(1).reverse()];
    const batch = createBatch(64, 0);
    placeDocument(batch, 0, sequence.slice(0, 64), sequence.slice(1));
    using tape = createTape(kernels, { recording: true });
    const oracle = [10.410081, 6.520313, 4.960016, 4.104537, 3.406764, 2.73889, 2.115545, 1.5789, 1.108808, 0.716693];
    for (const [step, expected] of oracle.entries()) {
      const loss = runBatch(tape, decoder, batch, 1 / 64) / 64;
      const norm = optimizer.step(step + 1, 1e-3);
      assert.ok(Math.abs(loss - expected) <= 5e-4, `step ${step}: loss ${loss}, expected ${expected}`);
      if (step === 0) assert.ok(Math.abs(norm - 23.76989) <= 2e-3, `gradient norm ${norm}`);
    }
  });
}

test("stories15M: logits within 1e-4 of the golden ones", { skip }, () => {
  checkLogits(loadKernels(), "stories15M");
});

test("stories260K writes its published text", { skip }, () => {
  const kernels = loadKernels();
  const decoder = loadCheckpoint(join(weights, "llama2c/stories260K.bin"), kernels);
  using tape = createTape(kernels, { recording: false });
  const expected = golden("stories260K");
  const tokenizer = loadTokenizer(join(weights, "llama2c/tok512.bin"));
  const text = tokenizer.decode(greedy(tape, decoder, expected.run_c_steps));
  assert.ok(text.startsWith(expected.run_c_greedy_text.trimEnd()) || expected.run_c_greedy_text.startsWith(text), text);
});
