// Rope: the base of dynamic scaling, how far each scaling goes, and batches whose sequences rotate differently.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { createTape } from "../../tensor/index.ts";
import { parseConfig } from "../family.ts";
import { decode, initializeDecoder, packedAttention, planRope, type Decoder } from "../decoder.ts";
import { tinyConfig } from "../tiny.ts";
import type { RopeRun } from "./rope.ts";
import { maximumPositions, ropeBase, ropeFrequencies } from "./rope-scaling.ts";

const kernels = loadKernels("reference");
const dynamic = tinyConfig("internlm2", { maxPositions: 4, ropeScaling: { type: "dynamic", factor: 2 } });

test("dynamic scaling: the known base, and none up to the model's positions", () => {
  const shape = { ...dynamic, headDim: 128, ropeTheta: 1e6, maxPositions: 32768 };
  assert.equal(ropeBase(shape, 32768), 1e6);
  // 1e6 * (2 * 200000 / 32768 - 1) ^ (128 / 126)
  assert.ok(Math.abs(ropeBase(shape, 200_000) / 11.65e6 - 1) < 1e-3, String(ropeBase(shape, 200_000)));
  const one = { ...shape, ropeScaling: { type: "dynamic", factor: 1 } } as const;
  assert.ok(Math.abs(ropeBase(one, 65536) / (1e6 * 2 ** (128 / 126)) - 1) < 1e-12);
});

test("InternLM's rotary and a factor of null are dynamic scaling by 1", () => {
  const json = {
    model_type: "internlm",
    vocab_size: 8,
    hidden_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 8,
    rms_norm_eps: 1e-6,
    max_position_embeddings: 16,
    bias: true,
    rotary: { base: 5000, type: "dynamic" },
  };
  const config = parseConfig(json, "config.json");
  assert.deepEqual([config.ropeTheta, config.ropeScaling], [5000, { type: "dynamic", factor: 1 }]);
  assert.deepEqual([config.qkvBias, config.outputBias], [true, true]);
  const later = { ...json, rotary: undefined, rope_theta: 7000, rope_scaling: { type: "dynamic", factor: null } };
  assert.deepEqual(parseConfig(later, "config.json").ropeScaling, { type: "dynamic", factor: 1 });
});

test("scalings say how far a sequence may go", () => {
  const most = (ropeScaling: object | undefined) =>
    maximumPositions(tinyConfig("llama", { maxPositions: 100, ...(ropeScaling as { ropeScaling: never }) }));
  assert.equal(most(undefined), 100);
  assert.equal(most({ ropeScaling: { type: "linear", factor: 4 } }), 400);
  assert.ok(most({ ropeScaling: { type: "dynamic", factor: 2 } }) > 1 << 20);
  assert.equal(most({ ropeScaling: { type: "yarn", factor: 4, originalPositions: 50 } }), 200);
  assert.throws(() => planRope(initializeDecoder(kernels, tinyConfig("llama"), 1), 17), Failure);
});

test("a linear factor divides frequencies, single divisors divide one each", () => {
  const plain = ropeFrequencies(tinyConfig("llama"), 10000);
  assert.deepEqual([...plain], [1, 0.01]);
  const linear = tinyConfig("llama", { ropeScaling: { type: "linear", factor: 4 } });
  assert.deepEqual([...ropeFrequencies(linear, 10000)], [0.25, 0.0025]);
  const factors = tinyConfig("llama", { ropeScaling: { type: "factors", factors: [1, 5] } });
  assert.deepEqual([...ropeFrequencies(factors, 10000)], [1, 0.002]);
});

/** Hidden states of sequences in one batch, each rotated as planned for its length. */
function run(decoder: Decoder, lengths: readonly number[], runs?: readonly RopeRun[]): number[] {
  using tape = createTape(kernels, { recording: false });
  const rows = lengths.flatMap((length, sequence) =>
    Array.from({ length }, (_, position) => ({ position, id: (3 * sequence + 5 * position) % 17 })),
  );
  let first = 0;
  const starts = lengths.flatMap((length) => {
    const begin = first;
    first += length;
    return Array.from({ length }, () => begin);
  });
  const ids = Int32Array.from(rows, ({ id }) => id);
  const positions = Int32Array.from(rows, ({ position }) => position);
  return [...decode(tape, decoder, ids, positions, packedAttention(Int32Array.from(starts)), runs).data];
}

test("a sequence is rotated by its own plan, whatever is beside it", () => {
  const decoder = initializeDecoder(kernels, dynamic, 3);
  const runOf = (rows: number, planned: number): RopeRun => ({ rows, rope: planRope(decoder, planned) });
  assert.equal(planRope(decoder, 4), decoder.rope);
  assert.notEqual(planRope(decoder, 9).key, planRope(decoder, 10).key);
  assert.equal(planRope(decoder, 9).key, planRope(decoder, 9).key);
  assert.throws(() => run(decoder, [6]), /Position 4 is outside/);

  const together = run(decoder, [3, 6, 6], [runOf(3, 4), runOf(6, 9), runOf(6, 12)]);
  const width = decoder.config.hiddenSize;
  assert.deepEqual(together.slice(0, 3 * width), run(decoder, [3]));
  assert.deepEqual(together.slice(0, 3 * width), run(decoder, [3], [runOf(3, 3)]));
  // Planned longer is rotated otherwise, though the rows are as many.
  assert.notDeepEqual(run(decoder, [6], [runOf(6, 9)]), run(decoder, [6], [runOf(6, 12)]));
  assert.deepEqual(together.slice(0, 9 * width), run(decoder, [3, 6], [runOf(3, 4), runOf(6, 9)]));
  assert.throws(() => run(decoder, [3, 6], [runOf(3, 4)]), /cover 3 rows of 9/);
});
