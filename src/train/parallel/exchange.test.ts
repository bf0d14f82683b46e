// When gradients are sent: while the backward pass goes on, in the same order on every rank, and none twice.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { Failure } from "../../protocol/errors.ts";
import { createTape, type Tensor } from "../../tensor/index.ts";
import { createBatch, placeDocument } from "../batch.ts";
import { createOptimizer } from "../optimizer.ts";
import { runBatch } from "../step.ts";
import { imaginedRanks } from "./imagined-ranks.ts";

const batch = createBatch(8, 2);
placeDocument(batch, 0, [1, 5, 6, 7], [5, 6, 7, 2]);

/** A tiny model on two ranks, of which this one writes down what it sends: names, and whether `last` was done by then. */
function open(zeroGroup = 1) {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, tinyConfig("llama", { layers: 3 }), 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const embedding = parameters[0]!;
  const sent: { names: string[]; embeddingDone: boolean }[] = [];
  const imagined = imaginedRanks(0, 2);
  const start = (_exchange: string, vectors: readonly Float32Array[]): number => {
    const of = (vector: Float32Array): Tensor | undefined => parameters.find(({ grad }) => grad === vector);
    const tensors = vectors.map(of).filter((tensor) => tensor !== undefined);
    for (const { name, hasGrad } of tensors) assert.ok(hasGrad, `${name} is final`);
    sent.push({ names: tensors.map(({ name }) => name), embeddingDone: embedding.hasGrad });
    return sent.length;
  };
  const ranks = { ...imagined, messages: { ...imagined.messages!, start } };
  const settings = { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 } as const;
  const optimizer = createOptimizer(kernels, decoder, parameters, settings, { ranks, zeroGroup, bucketBytes: 1024 });
  return {
    decoder,
    parameters,
    optimizer,
    exchange: optimizer.exchange!,
    sent,
    tape: createTape(kernels, { recording: true }),
  };
}

for (const checkpointing of [0, 1]) {
  test(`layers are sent while those below are gone through, ${checkpointing === 0 ? "kept" : "made again"}`, () => {
    const { decoder, parameters, exchange, sent, tape } = open();
    exchange.begin(tape);
    runBatch(tape, decoder, batch, 1, { checkpointing });
    const during = sent.length;
    exchange.finish(tape);
    tape[Symbol.dispose]();
    assert.ok(during >= 3, `${during} of ${sent.length} buckets were sent during the pass`);
    assert.ok(sent.slice(0, during).every(({ embeddingDone }) => !embeddingDone));
    const layers = sent.flatMap(({ names }) => names.map((name) => Number(/layers\.(\d)/.exec(name)?.[1] ?? NaN)));
    const known = layers.filter((layer) => !Number.isNaN(layer));
    assert.deepEqual(
      known,
      known.toSorted((a, b) => b - a),
      "the last layer first",
    );
    assert.deepEqual(sent.flatMap(({ names }) => names).sort(), parameters.map(({ name }) => name).sort(), "each once");
  });
}

test("without a last pass, and without a gradient, everything is sent at the end, as zeros", () => {
  const { parameters, exchange, sent, tape } = open();
  parameters[3]!.grad!.fill(7);
  exchange.finish(tape);
  assert.equal(sent.flatMap(({ names }) => names).length, parameters.length);
  assert.ok(parameters[3]!.grad!.every((value) => value === 0));
  tape[Symbol.dispose]();
});

test("a pass that runs forward again after its gradients were sent is a defect that is told", () => {
  const { decoder, exchange, tape } = open();
  exchange.begin(tape);
  runBatch(tape, decoder, batch, 1);
  assert.throws(() => runBatch(tape, decoder, batch, 1), /after gradients of it were sent/);
});

test("groups that do not fill the ranks are refused", () => {
  assert.throws(
    () => open(3),
    (error: unknown) => error instanceof Failure && /--zero 3/.test(error.message) && /divides 2/.test(error.hint!),
  );
});
