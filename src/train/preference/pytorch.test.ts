// Every loss over preferences through a whole model in float32, packed, against PyTorch. PyTorch is no part of the set-up:
// where it is not installed the test says so.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../../formats/safetensors.ts";
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors, saveCheckpoint } from "../../model/index.ts";
import { disturbVectors, tinyConfig } from "../../model/tiny.ts";
import { createTape, randomBits, randomNormal, tensor } from "../../tensor/index.ts";
import type { Example } from "../sampler.ts";
import { grpo, type GrpoBatch } from "./grpo.ts";
import { answerLogprobs, backwardSequences, sumSequences, withoutTraining } from "./logprobs.ts";
import { dpoLosses } from "./losses/dpo.ts";
import { ktoLoss } from "./losses/kto.ts";
import { placeGroups, type Group } from "./packing.ts";
import { dpo, orpo } from "./pairs.ts";
import { reward } from "./reward-objective.ts";

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import torch"]).status === 0
    ? false
    : `${python} has no torch; set LIANLU_PYTHON to a Python that has (pip install torch)`;
const directory = mkdtempSync(join(tmpdir(), "lianlu-preference-pytorch-"));
after(() => rmSync(directory, { recursive: true }));

function example(stream: number, answerTokens: number): Example {
  const ids = Int32Array.from({ length: answerTokens + 8 }, (_, index) => randomBits(1, stream, index) % 300);
  const targets = ids.slice(1);
  targets.fill(-1, 0, 6);
  return { tokens: ids.subarray(0, -1), targets };
}

test("every loss and every gradient within 1e-4 of PyTorch", { skip }, async (context) => {
  const kernels = loadKernels();
  const shape = { hiddenSize: 64, headDim: 16, intermediateSize: 96, maxPositions: 128, initializerRange: 0.1 };
  const config = tinyConfig("internlm2", { ...shape, vocabSize: 300 });
  const decoder = initializeDecoder(kernels, config, 7);
  disturbVectors(decoder);
  saveCheckpoint(directory, decoder, directory);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  using tape = createTape(kernels, { recording: true });

  const pairs: Group[] = [20, 3, 70].map((length, index) => [example(2 * index, length), example(2 * index + 1, 30)]);
  const walk = { rows: 260, seed: 1, padId: 2 };
  const batch = placeGroups(pairs, [0, 1, 2], walk);
  const answers = withoutTraining(tape, () => {
    const { logprobs, starts } = answerLogprobs(tape, decoder, batch, false);
    return { logprobs: Float64Array.from(logprobs.data), starts };
  });
  const move = (stream: number, index: number, by: number): number => by * randomNormal(3, stream, index);
  const moved = (stream: number): number[][] =>
    pairs
      .flat()
      .map((_, sequence) =>
        [...answers.logprobs.subarray(answers.starts[sequence], answers.starts[sequence + 1])].map((value, index) =>
          Math.fround(value + move(stream + sequence, index, 0.3)),
        ),
      );
  const [old, tokenReference] = [moved(10), moved(20)];
  const reference = tokenReference.map((values, index) =>
    values.reduce((sum, value) => sum + value, move(1, index, 4)),
  );
  const advantages = Float64Array.from(reference, (_, index) => move(2, index, 1));
  const valueHead = Float32Array.from({ length: config.hiddenSize }, (_, index) => move(4, index, 0.2));
  const numbers = { beta: 0.1, labelSmoothing: 0.1, baseline: 0.5, penalty: 0.01, clip: 0.2, klWeight: 0.04 };
  writeFileSync(
    join(directory, "batch.json"),
    JSON.stringify({
      ...Object.fromEntries(
        (["ids", "targets", "positions", "starts"] as const).map((key) => [key, [...batch.batch[key]]]),
      ),
      ...numbers,
      sequences: pairs.flat().map((_, index) => [batch.starts[index], batch.starts[index + 1]]),
      reference,
      old,
      tokenReference,
      advantages: [...advantages],
      valueHead: [...valueHead],
    }),
  );
  const oracle = [join(import.meta.dirname, "../pytorch-oracle.py"), join(import.meta.dirname, "losses-oracle.py")];
  const out = join(directory, "gradients.safetensors");
  const child = spawnSync(python, [oracle[0]!, directory, join(directory, "batch.json"), out, oracle[1]!], {
    encoding: "utf8",
  });
  assert.equal(child.status, 0, child.stderr);
  const expected = JSON.parse(child.stdout) as Record<string, number>;
  const source = openSafetensors(out);

  /** Runs a pass that adds gradients of its mean loss, which it returns. */
  async function check(name: string, pass: () => number): Promise<void> {
    await context.test(name, () => {
      for (const entry of parameters) entry.hasGrad = false;
      const loss = pass();
      assert.ok(
        Math.abs(loss - expected[name]!) <= 1e-4 * Math.abs(expected[name]!) + 1e-6,
        `${loss}, ${expected[name]}`,
      );
      for (const { name: tensorName, grad, hasGrad } of parameters) {
        if (!source.tensors.has(`${name}/${tensorName}`)) {
          assert.ok(!hasGrad, `${tensorName} has a gradient`);
          continue;
        }
        let [difference, size] = [0, 0];
        readFloats(source, `${name}/${tensorName}`).forEach((value, index) => {
          difference += (value - grad![index]!) ** 2;
          size += value ** 2;
        });
        const relative = Math.sqrt(difference / size);
        assert.ok(relative <= 1e-4, `${tensorName}: relative error ${relative}`);
      }
    });
  }

  const shared = { decoder, pairs, ...walk };
  const references = pairs.map((_, pair) => Float64Array.from(reference.slice(2 * pair, 2 * pair + 2)));
  for (const loss of dpoLosses) {
    const objective = dpo({ ...shared, reference: references }, { loss, ...numbers });
    await check(loss, () => objective.run(tape, batch, 1 / 3).loss / 3);
  }
  await check("orpo", () => orpo(shared, numbers).run(tape, batch, 1 / 3).loss / 3);
  await check("kto", () => {
    const passed = answerLogprobs(tape, decoder, batch, true);
    const desirable = reference.map((_, index) => index % 2 === 0);
    const rated = { logprobs: sumSequences(passed), reference: Float64Array.from(reference), desirable };
    const weights = { desirableWeight: 1, undesirableWeight: 1 };
    const { losses, gradient } = ktoLoss(rated, numbers.baseline, { ...numbers, ...weights });
    backwardSequences(
      tape,
      passed,
      gradient.map((value) => value / 6),
    );
    tape.reset();
    return losses.reduce((sum, value) => sum + value / 6, 0);
  });
  const head = tensor(valueHead, [1, config.hiddenSize], "v_head.weight");
  for (const loss of ["ranking", "focal"] as const) {
    const objective = reward({ ...shared, valueHead: head }, { loss, penalty: numbers.penalty });
    await check(loss, () => objective.run(tape, batch, 1 / 3).loss / 3);
  }
  for (const averaging of ["sequence", "token"] as const) {
    // Answers as they would have been kept: each sequence is a prompt of its own.
    const flat = pairs.flat();
    const learnt = flat.map(({ targets }) => targets.findIndex((target) => target >= 0) + 1);
    const prompts = flat.map(({ tokens }, index) => tokens.subarray(0, learnt[index]));
    const rollouts = flat.map(({ targets }, prompt) => ({
      prompt,
      ids: Array.from(targets).filter((target) => target >= 0),
      text: "",
      ended: true,
      reward: 0,
      rewards: {},
      advantage: advantages[prompt]!,
      old: old[prompt]!,
      reference: tokenReference[prompt]!,
    }));
    const objective = grpo({
      ...numbers,
      averaging,
      group: 1,
      prompts: flat.length,
      innerSteps: 2,
      scaleRewards: true,
      decoder,
      promptIds: prompts,
      accumulate: 1,
      rows: 128,
      padId: 2,
      seed: 1,
      answer: () => Promise.reject(new Error("they are kept")),
      judge: () => Promise.reject(new Error("they are kept")),
      store: { load: () => rollouts, save: () => {} },
    });
    const grpoBatch: GrpoBatch = { round: 0, place: 0, inner: 1, prompts: prompts.map((_, index) => index) };
    await objective.prepare!(tape, grpoBatch, 0);
    await check(`grpo ${averaging}`, () => {
      const { parts } = objective.run(tape, grpoBatch, 1 / flat.length);
      return parts!.surrogate!.sum / flat.length;
    });
  }
  source.close();
});
