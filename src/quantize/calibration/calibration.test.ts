import assert from "node:assert/strict";
import { test } from "node:test";
import { referenceKernels as kernels } from "../../kernels/reference/index.ts";
import { decode, type Decoder, initializeDecoder, namedTensors, packedAttention } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { runJob } from "../../protocol/index.ts";
import { createTape, randomNormal, tensor } from "../../tensor/index.ts";
import { heldOutBatches } from "../held-out.ts";
import { calibrate } from "./calibrate.ts";
import { clipGroups } from "./clip.ts";
import { affineGroups, affineRounding, symmetricRounding } from "./rounding.ts";
import { runLayer } from "./run-layer.ts";
import { scaleColumns, smoothingScales, weightImportance } from "./smoothing.ts";

const config = tinyConfig("llama", { hiddenSize: 64, headDim: 16, intermediateSize: 96, vocabSize: 50 });

/** A decoder in whose norms a few columns are far larger than the others, as in trained models. */
function outlierDecoder(): Decoder {
  const decoder = initializeDecoder(kernels, config, 3);
  for (const { attentionNorm, feedForwardNorm } of decoder.layers) {
    for (const norm of [attentionNorm, feedForwardNorm]) for (let i = 0; i < 64; i += 21) norm.data[i] = 12;
  }
  return decoder;
}
const source = {
  documents: 20,
  document: (index: number) => Uint16Array.from({ length: 13 }, (_, i) => (i * i + 7 * index) % config.vocabSize),
};
const batches = heldOutBatches(source, { tokens: 200, length: 16, rows: 64, seed: 1 });

function logits(decoder: Decoder): number[] {
  using tape = createTape(kernels, { recording: false });
  const { ids, positions, starts } = batches[0]!;
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  return [...decoder.head.apply(tape, tensor(hidden.data, [ids.length, config.hiddenSize], "hidden")).data];
}

function squares(x: ArrayLike<number>, y: ArrayLike<number>): number {
  return Array.from(x, (value, i) => (value - y[i]!) ** 2).reduce((sum, square) => sum + square, 0);
}

test("a layer run alone gives what it gives in the whole model, and shows its inputs", () => {
  const decoder = outlierDecoder();
  using tape = createTape(kernels, { recording: false });
  const { ids, positions, starts } = batches[0]!;
  let hidden = Float32Array.from(decoder.embedding.lookup(tape, ids).data);
  const widths: Record<string, number> = {};
  for (const index of decoder.layers.keys()) {
    hidden = runLayer(
      tape,
      decoder,
      index,
      { hidden, positions, starts },
      {
        onInput: (place, x) => (widths[place] = x.shape.at(-1)!),
      },
    ) as Float32Array<ArrayBuffer>;
  }
  assert.deepEqual(widths, { projections: 64, output: 64, gate: 64, up: 64, down: 96 });
  const whole = logits({ ...decoder, head: decoder.head });
  const last = decode(
    tape,
    {
      ...decoder,
      layers: [],
      embedding: { ...decoder.embedding, lookup: () => tensor(hidden, [ids.length, 64], "x") },
    },
    ids,
    positions,
    packedAttention(starts),
  );
  assert.deepEqual([...decoder.head.apply(tape, last).data], whole);
});

for (const [name, rounding] of [
  ["q4_0", symmetricRounding(kernels)],
  ["affine", affineRounding(32)],
] as const) {
  test(`${name}: scalings leave the float model as it is, and its rounded form nearer to it`, async () => {
    const decoder = outlierDecoder();
    const { adjustments, scalings } = await runJob(
      calibrate(kernels, decoder, batches, rounding, new AbortController().signal),
    );
    assert.equal(scalings.length, 3 * config.layers);
    assert.ok(scalings.every(({ gain }) => gain > 0 && gain <= 1));
    assert.ok(scalings.some(({ exponent, gain }) => exponent !== undefined && gain < 0.8));
    const build = (adjusted: boolean, rounded: boolean): Decoder => {
      const other = outlierDecoder();
      for (const [tensorName, { data, shape }] of namedTensors(other)) {
        const { columns, rows } = (adjusted && adjustments.get(tensorName)) || {};
        if (columns) data.set(scaleColumns(data as Float32Array, columns));
        if (rows) for (let i = 0; i < data.length; i++) data[i]! /= rows[Math.floor((i * rows.length) / data.length)]!;
        if (!rounded || shape.length === 1 || !tensorName.includes("proj")) continue;
        rounding.round(data as Float32Array, Float32Array.from(data));
      }
      return other;
    };
    const expected = logits(outlierDecoder());
    const size = squares(expected, new Float32Array(expected.length));
    assert.ok(squares(logits(build(true, false)), expected) < 1e-9 * size);
    const plain = squares(logits(build(false, true)), expected);
    assert.ok(squares(logits(build(true, true)), expected) < plain);
    const { importance, inputs } = adjustments.get("model.layers.0.mlp.down_proj.weight")!;
    assert.equal(importance!.length, 96);
    assert.equal(inputs!.length % 96, 0);
  });
}

test("calibration is the same every time, and can be aborted", async () => {
  const run = () => {
    const job = calibrate(kernels, outlierDecoder(), batches, affineRounding(32), new AbortController().signal);
    return runJob(job);
  };
  assert.deepEqual(await run(), await run());
  const aborted = AbortSignal.abort();
  await assert.rejects(runJob(calibrate(kernels, outlierDecoder(), batches, affineRounding(32), aborted)));
});

test("smoothing scales: by activations at a = 1, by weights at a = 0, with a middle of one", () => {
  const scales = smoothingScales([1, 4, 16], [1, 1, 1], 0.5);
  assert.deepEqual([...scales], [0.5, 1, 2]);
  assert.deepEqual([...smoothingScales([1, 4, 16], [1, 0.25, 0.0625], 0)], [0.25, 1, 4]);
  const importance = weightImportance([Float32Array.of(1, 2, 0, 0), Float32Array.of(-4, 2, 1, 1)], 4, 2);
  assert.deepEqual([...importance], [0.75, 0.75, 0.5, 0.5]);
});

test("affine groups: the levels cover the range, and a constant group is not divided by nothing", () => {
  const { scales, zeros } = affineGroups(Float32Array.of(-1, 0, 0.5, 2, 7, 7, 7, 7), 4, 16);
  assert.ok(Math.abs(scales[0]! - 0.2) < 1e-3 && zeros[0] === 5);
  assert.ok(scales[1]! > 0 && zeros[1] === 0);
});

test("clipping never loses more than rounding as it is, and leaves what is best unclipped alone", () => {
  const columns = 64;
  const rounding = affineRounding(32);
  const weights = Float32Array.from({ length: 8 * columns }, (_, i) => randomNormal(1, 1, i) * (i % 37 === 0 ? 6 : 1));
  const inputs = Float32Array.from({ length: 40 * columns }, (_, i) => randomNormal(2, 1, i) + 0.5);
  const clipped = clipGroups(kernels, weights, columns, inputs, rounding);
  const lossOf = (matrix: Float32Array) => {
    const rounded = new Float32Array(matrix.length);
    rounding.round(rounded, matrix);
    let loss = 0;
    for (let row = 0; row < 8; row++) {
      for (let group = 0; group < columns; group += 32) {
        for (let sample = 0; sample < 40; sample++) {
          let sum = 0;
          for (let i = group; i < group + 32; i++) {
            sum += (rounded[row * columns + i]! - weights[row * columns + i]!) * inputs[sample * columns + i]!;
          }
          loss += sum * sum;
        }
      }
    }
    return loss;
  };
  assert.ok(lossOf(clipped) < 0.95 * lossOf(weights), `${lossOf(clipped)} of ${lossOf(weights)}`);
  const whole = Float32Array.from({ length: columns }, (_, i) => (i % 16) / 16);
  assert.deepEqual(clipGroups(kernels, whole, columns, inputs, rounding), whole);
});
