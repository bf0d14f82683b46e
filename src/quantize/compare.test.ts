import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import {
  decode,
  type Decoder,
  type DecoderConfig,
  denseFeedForward,
  denseLinear,
  initializeDecoder,
  packedAttention,
  saveCheckpoint,
} from "../model/index.ts";
import { runJob } from "../protocol/index.ts";
import { createTape, tensor } from "../tensor/index.ts";
import { saveTokenizer } from "../tokenizer/index.ts";
import { trainBpe } from "../tokenizer/train.ts";
import { createComparison, outputErrors } from "./compare.ts";
import { heldOutBatches } from "./held-out.ts";
import { floatDecoder, openModelSource } from "./source.ts";

const config: DecoderConfig = {
  family: "internlm2",
  vocabSize: 13,
  hiddenSize: 16,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  intermediateSize: 24,
  rmsNormEps: 1e-5,
  ropeTheta: 1000,
  maxPositions: 16,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 0,
  initializerRange: 0.3,
};
const source = {
  documents: 12,
  document: (index: number) => Uint16Array.from({ length: 11 }, (_, i) => (i * i + 5 * index) % config.vocabSize),
};
const batches = heldOutBatches(source, { tokens: 100, length: 8, rows: 24, seed: 1 });

/** Log-probabilities of every row of a batch, the plain way in float64. */
function logProbabilities(decoder: Decoder, batch: (typeof batches)[number]): number[][] {
  using tape = createTape(kernels, { recording: false });
  const hidden = decode(tape, decoder, batch.ids, batch.positions, packedAttention(batch.starts));
  const logits = decoder.head.apply(tape, hidden).data;
  return Array.from(batch.ids, (_, row) => {
    const scores = [...logits.subarray(row * config.vocabSize, (row + 1) * config.vocabSize)];
    const total = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
    return scores.map((score) => score - total);
  });
}

function near(actual: number, expected: number, tolerance = 1e-6): void {
  assert.ok(
    Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)),
    `${actual}, expected ${expected}`,
  );
}

test("perplexity, divergence and agreement are what the definitions give", () => {
  const float = initializeDecoder(kernels, config, 1);
  const other = initializeDecoder(kernels, config, 1);
  const weight = other.head.weight!;
  for (let i = 0; i < weight.data.length; i++) weight.data[i]! += 0.1 * Math.sin(i * i);
  const comparison = createComparison(kernels, float, other);
  let [before, after, divergence, agreed, tokens] = [0, 0, 0, 0, 0];
  const top = (row: number[]) => row.indexOf(Math.max(...row));
  for (const batch of batches) {
    comparison.add(batch);
    const expected = logProbabilities(float, batch);
    const actual = logProbabilities(other, batch);
    for (const [row, p] of expected.entries()) {
      const q = actual[row]!;
      before -= p[batch.targets[row]!]!;
      after -= q[batch.targets[row]!]!;
      divergence += p.reduce((sum, value, i) => sum + Math.exp(value) * (value - q[i]!), 0);
      agreed += top(p) === top(q) ? 1 : 0;
      tokens++;
    }
  }
  const quality = comparison.result();
  assert.equal(quality.tokens, tokens);
  assert.equal(tokens, 100);
  near(quality.perplexityBefore, Math.exp(before / tokens));
  near(quality.perplexityAfter, Math.exp(after / tokens));
  near(quality.perplexityIncrease, quality.perplexityAfter / quality.perplexityBefore - 1);
  near(quality.klDivergence, divergence / tokens);
  assert.equal(quality.topAgreement, agreed / tokens);
  assert.ok(agreed < tokens && quality.klDivergence > 1e-4);
  const [low, high] = quality.perplexityIncreaseInterval!;
  assert.ok(low < quality.perplexityIncrease && quality.perplexityIncrease < high);
});

test("a single piece has no interval", () => {
  const decoder = initializeDecoder(kernels, config, 1);
  const comparison = createComparison(kernels, decoder, decoder);
  comparison.add(heldOutBatches(source, { tokens: 5, length: 8, rows: 24, seed: 1 })[0]!);
  assert.equal(comparison.result().perplexityIncreaseInterval, undefined);
});

test("a model does not differ from the decoder that its GGUF file would open as, whose layers are split", async () => {
  const directory = mkdtempSync(join(tmpdir(), "compare-"));
  try {
    saveTokenizer(directory, await runJob(trainBpe(words(), { vocabSize: 270, split: "words" })));
    const decoder = initializeDecoder(kernels, { ...config, vocabSize: 270 }, 2);
    saveCheckpoint(directory, decoder, directory);
    const model = openModelSource(directory, kernels);
    const float = floatDecoder(kernels, model);
    model.close();
    assert.equal(decoder.layers[0]!.projections.length, 1);
    assert.equal(float.layers[0]!.projections.length, 3);
    const comparison = createComparison(kernels, decoder, float);
    for (const batch of batches) comparison.add(batch);
    const quality = comparison.result();
    near(quality.klDivergence, 0);
    near(quality.perplexityIncrease, 0);
    assert.equal(quality.topAgreement, 1);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

async function* words() {
  yield "a word, and another";
}

test("output errors name the layer that was changed, and leave the model as it was", () => {
  const float = initializeDecoder(kernels, config, 3);
  const changed = initializeDecoder(kernels, config, 3);
  const layer = denseFeedForward(changed.layers[1]!);
  const { data, shape, name } = layer.down.weight!;
  layer.down = denseLinear(
    tensor(
      data.map((value) => 1.25 * value),
      shape,
      name,
    ),
  );
  const before = denseFeedForward(float.layers[1]!).down;
  const errors = outputErrors(kernels, float, changed, batches[0]!);
  assert.equal(errors.size, 2 * 5);
  for (const [layerName, error] of errors) near(error, layerName === "model.layers.1.feed_forward.w2" ? 0.25 : 0);
  assert.equal(denseFeedForward(float.layers[1]!).down, before);
});
