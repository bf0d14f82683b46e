// Objectives over preferences through a whole tiny model: gradients against finite differences in float64, packing, the
// reference, and the walk through the data.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels, type Kernels } from "../../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors, type Decoder } from "../../model/index.ts";
import { disturbVectors, tinyConfig } from "../../model/tiny.ts";
import { runJob } from "../../protocol/job.ts";
import { createTape, randomBits, randomNormal, tensor, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Objective } from "../objective.ts";
import type { Example } from "../sampler.ts";
import { answerLogprobs, sumSequences, withoutTraining } from "./logprobs.ts";
import { dpoLosses } from "./losses/dpo.ts";
import { createGroupSampler, groupLength, placeGroups, type Group } from "./packing.ts";
import { dpo, orpo } from "./pairs.ts";
import { kto, placeRated, type RatedGroup } from "./rated.ts";
import { referenceLogprobs } from "./reference.ts";
import { reward } from "./reward-objective.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-preference-"));
after(() => rmSync(directory, { recursive: true }));
const float64: Kernels = { ...loadKernels("reference"), allocate: (length) => new Float64Array(length) };
const config = tinyConfig("internlm2");

function tinyModel(seed = 1): { decoder: Decoder; tape: Tape; trained: Tensor[] } {
  const decoder = initializeDecoder(float64, config, seed);
  disturbVectors(decoder);
  const trained = [...namedTensors(decoder).values()];
  makeTrainable(float64, trained);
  return { decoder, tape: createTape(float64, { recording: true }), trained };
}

/** A prompt of 2 tokens and an answer, of which every token is learnt. */
function example(stream: number, answerTokens: number): Example {
  const ids = Int32Array.from({ length: answerTokens + 3 }, (_, index) => randomBits(1, stream, index) % 17);
  const targets = ids.slice(1);
  targets.fill(-1, 0, 1);
  return { tokens: ids.subarray(0, -1), targets };
}

const pairs: Group[] = [3, 1, 5].map((length, index) => [example(2 * index, length), example(2 * index + 1, 4)]);
const reference = pairs.map((_, pair) => Float64Array.of(-7 - pair, -11 + 2 * pair));
const all = pairs.map((_, index) => index);
const walk = { rows: 40, seed: 1, padId: 2 };

/** Compares gradients of the mean loss with central differences, at a few places of each tensor. */
function checkGradients<B>(objective: Objective<B>, tape: Tape, batch: B, trained: readonly Tensor[]): void {
  const weight = objective.weight(batch);
  for (const entry of trained) entry.hasGrad = false;
  objective.run(tape, batch, 1 / weight);
  const step = 1e-5;
  for (const { data, grad, hasGrad, name } of trained) {
    for (const place of [0, Math.floor(data.length / 2), data.length - 1]) {
      const held = data[place]!;
      data[place] = held + step;
      const above = objective.run(tape, batch, 0).loss;
      data[place] = held - step;
      const below = objective.run(tape, batch, 0).loss;
      data[place] = held;
      const expected = (above - below) / (2 * step * weight);
      const actual = hasGrad ? grad![place]! : 0;
      assert.ok(
        Math.abs(actual - expected) < 1e-6 * Math.max(1, Math.abs(expected)),
        `${name}: ${actual}, ${expected}`,
      );
    }
  }
}

for (const loss of dpoLosses) {
  test(`dpo ${loss}: gradients of every tensor`, () => {
    const { decoder, tape, trained } = tinyModel();
    const objective = dpo({ decoder, pairs, reference, ...walk }, { loss, beta: 0.1, labelSmoothing: 0 });
    checkGradients(objective, tape, placeGroups(pairs, all, walk), trained);
  });
}

test("orpo: gradients of every tensor, layers run again or not", () => {
  const { decoder, tape, trained } = tinyModel();
  const objective = orpo({ decoder, pairs, ...walk, checkpointing: 1 }, { beta: 0.1 });
  checkGradients(objective, tape, placeGroups(pairs, all, walk), trained);
});

test("kto: gradients of every tensor; nothing flows back through the baseline", () => {
  const { decoder, tape, trained } = tinyModel();
  const answers: RatedGroup[] = [0, 1, 2].map((index) => [example(index, 4), example(index + 9, 3)]);
  const good = [true, false, true];
  const loss = { beta: 0.1, desirableWeight: 1, undesirableWeight: 1.3 };
  // With this reference the baseline is at its bound, 0, where it does not depend on the weights.
  const still = answers.map(() => Float64Array.of(-9, 100));
  const objective = kto({ decoder, answers, good, reference: still, ...walk }, loss);
  const batch = placeRated(answers, all, walk);
  checkGradients(objective, tape, batch, trained);
  const { parts } = kto({ decoder, answers, good, reference, ...walk }, loss).run(tape, batch, 0);
  assert.ok(parts!.kl!.sum >= 0);
});

for (const loss of ["ranking", "focal"] as const) {
  test(`reward ${loss}: gradients of every tensor and of the value head`, () => {
    const { decoder, tape, trained } = tinyModel();
    const head = Float64Array.from({ length: config.hiddenSize }, (_, index) => randomNormal(5, 5, index));
    const valueHead = tensor(head, [1, config.hiddenSize], "v_head.weight");
    makeTrainable(float64, [valueHead]);
    const objective = reward({ decoder, pairs, valueHead, ...walk }, { loss, penalty: 0.01 });
    checkGradients(objective, tape, placeGroups(pairs, all, walk), [valueHead, ...trained]);
  });
}

test("packed equals apart, in loss and gradient", () => {
  const { decoder, tape, trained } = tinyModel();
  const objective = dpo({ decoder, pairs, reference, ...walk }, { loss: "sigmoid", beta: 0.1, labelSmoothing: 0 });
  const gradients = (batches: readonly number[][]): { loss: number; grads: Float64Array[] } => {
    for (const entry of trained) entry.hasGrad = false;
    let loss = 0;
    for (const groups of batches) loss += objective.run(tape, placeGroups(pairs, groups, walk), 1).loss;
    return { loss, grads: trained.map(({ grad }) => Float64Array.from(grad!)) };
  };
  const packed = gradients([all]);
  const apart = gradients(all.map((pair) => [pair]));
  assert.ok(Math.abs(packed.loss - apart.loss) < 1e-12);
  for (const [index, grad] of packed.grads.entries()) {
    grad.forEach((value, place) => assert.ok(Math.abs(value - apart.grads[index]![place]!) < 1e-10));
  }
  // The control: a batch whose sequences run into one another gives something else.
  const joined = placeGroups(pairs, all, walk);
  joined.batch.starts.fill(0);
  assert.ok(Math.abs(objective.run(tape, joined, 0).loss - packed.loss) > 1e-6);
});

test("what else lies in a batch changes no bit of a pair; buffers do not grow from epoch to epoch", () => {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, config, 1);
  makeTrainable(kernels, namedTensors(decoder).values());
  using tape = createTape(kernels, { recording: true });
  const sumsOf = (groups: readonly number[]): number[] => {
    const batch = placeGroups(pairs, groups, walk);
    return withoutTraining(tape, () => [...sumSequences(answerLogprobs(tape, decoder, batch, false))]);
  };
  const together = sumsOf(all);
  assert.deepEqual(sumsOf([2]), together.slice(4));
  assert.deepEqual(sumsOf([1, 0]), [...together.slice(2, 4), ...together.slice(0, 2)]);

  const objective = dpo({ decoder, pairs, reference, ...walk }, { loss: "sigmoid", beta: 0.1, labelSmoothing: 0 });
  const epoch = (): number => {
    for (const groups of [[0], [1], [2], [0, 1], all]) objective.run(tape, placeGroups(pairs, groups, walk), 1);
    return tape.bytes;
  };
  assert.equal(epoch(), epoch());
});

test("the reference is that of the model as it is, kept by its key, and makes a margin of zero", async () => {
  const { decoder, tape, trained } = tinyModel();
  const kept = { directory, key: "one" };
  const found = await runJob(referenceLogprobs(tape, decoder, pairs, walk, kept));
  const options = { decoder, pairs, reference: found, ...walk };
  const { loss, parts } = dpo(options, { loss: "sigmoid", beta: 0.1, labelSmoothing: 0 }).run(
    tape,
    placeGroups(pairs, all, walk),
    0,
  );
  assert.ok(Math.abs(loss / 3 - Math.log(2)) < 1e-12);
  assert.ok(Math.abs(parts!["reward/margin"]!.sum) < 1e-12);
  trained[0]!.data[0]! += 1;
  trained[1]!.data.fill(0.5);
  assert.deepEqual(await runJob(referenceLogprobs(tape, decoder, pairs, walk, kept)), found);
  assert.notDeepEqual(await runJob(referenceLogprobs(tape, decoder, pairs, walk, { ...kept, key: "two" })), found);
});

test("a walk goes on from its state, each pair once an epoch", () => {
  const small = pairs.map(groupLength);
  const take = (count: number, from?: { epoch: number; batch: number }) => {
    const sampler = createGroupSampler(small, { rows: 24, seed: 3 }, (groups) => groups, from);
    const given = Array.from({ length: count }, () => sampler.next());
    return { given, state: { ...sampler.state } };
  };
  const whole = take(9);
  const first = take(4);
  assert.deepEqual([...first.given, ...take(5, first.state).given], whole.given);
  const firstEpoch = whole.given.slice(
    0,
    whole.given.findIndex((_, index) => take(index).state.epoch === 1),
  );
  assert.deepEqual(firstEpoch.flat().sort(), all);
});
