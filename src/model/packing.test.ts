// Documents packed in one batch never see one another, in any family: loss and gradients are those of the documents
// apart, and a document that changes leaves the logits of the others alone, to the bit. The control has no boundaries.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { createTape, linearCrossEntropy } from "../tensor/index.ts";
import { decode, initializeDecoder, makeTrainable, namedTensors, packedAttention, type Decoder } from "./index.ts";
import { disturbVectors, tinyConfig, tinyVariants } from "./tiny.ts";

const tolerance = 1e-5;
const kernels = loadKernels();
const lengths = [7, 1, 3, 12];
const documents = lengths.map((length, which) =>
  Int32Array.from({ length }, (_, position) => (3 + 5 * which + 7 * position + position * position) % 17),
);

interface Rows {
  ids: Int32Array;
  targets: Int32Array;
  positions: Int32Array;
  starts: Int32Array;
}

/** Documents one after another; without boundaries each row sees all before it. */
function pack(packed: readonly Int32Array[], boundaries = true): Rows {
  const total = packed.reduce((sum, { length }) => sum + length, 0);
  const rows: Rows = {
    ids: new Int32Array(total),
    targets: new Int32Array(total).fill(-1),
    positions: new Int32Array(total),
    starts: new Int32Array(total),
  };
  let start = 0;
  for (const document of packed) {
    rows.ids.set(document, start);
    rows.targets.set(document.subarray(1), start);
    for (let i = 0; i < document.length; i++) {
      rows.positions[start + i] = i;
      rows.starts[start + i] = boundaries ? start : 0;
    }
    start += document.length;
  }
  return rows;
}

/** The sum of the losses; gradients of it are added. */
function train(decoder: Decoder, { ids, targets, positions, starts }: Rows): number {
  using tape = createTape(kernels, { recording: true });
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  const losses = linearCrossEntropy(tape, decoder.head.terms!(tape, hidden), targets, 1);
  const sum = [...losses.data].reduce((total, loss) => total + loss, 0);
  tape.backward();
  return sum;
}

/** The logits of each document. */
function logits(decoder: Decoder, { ids, positions, starts }: Rows): number[][] {
  using tape = createTape(kernels, { recording: false });
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  const all = [...decoder.head.apply(tape, hidden).data];
  let end = 0;
  return lengths.map((length) => all.slice(17 * end, 17 * (end += length)));
}

function gradients(decoder: Decoder, batches: readonly Rows[]): { loss: number; gradient: number[] } {
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const loss = batches.reduce((sum, batch) => sum + train(decoder, batch), 0);
  return { loss, gradient: parameters.flatMap(({ grad }) => [...grad!]) };
}

function relativeDifference(actual: readonly number[], expected: readonly number[]): number {
  let difference = 0;
  let size = 0;
  for (const [i, value] of expected.entries()) {
    difference += (value - actual[i]!) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

for (const [family, changes] of tinyVariants) {
  const make = () => {
    const decoder = initializeDecoder(kernels, tinyConfig(family, changes), 1);
    disturbVectors(decoder);
    return decoder;
  };

  test(`${family} ${JSON.stringify(changes)}: packed documents have the loss and gradient of the documents apart`, () => {
    const apart = gradients(
      make(),
      documents.map((document) => pack([document])),
    );
    const packed = gradients(make(), [pack(documents)]);
    assert.ok(Math.abs(packed.loss / apart.loss - 1) <= tolerance);
    const difference = relativeDifference(packed.gradient, apart.gradient);
    assert.ok(difference <= tolerance, `gradients differ by ${difference}`);
    const control = gradients(make(), [pack(documents, false)]);
    assert.ok(relativeDifference(control.gradient, apart.gradient) > 100 * tolerance, "without boundaries it shows");
  });

  test(`${family} ${JSON.stringify(changes)}: another document in the batch changes no bit of the others`, () => {
    const decoder = make();
    for (const changed of documents.keys()) {
      const others = documents.with(
        changed,
        documents[changed]!.map((id) => (id + 5) % 17),
      );
      const [before, after] = [logits(decoder, pack(documents)), logits(decoder, pack(others))];
      for (const which of documents.keys()) {
        if (which === changed) assert.notDeepEqual(after[which], before[which]);
        else assert.deepEqual(after[which], before[which]);
      }
    }
    const others = documents.with(
      0,
      documents[0]!.map((id) => (id + 5) % 17),
    );
    const [before, after] = [logits(decoder, pack(documents, false)), logits(decoder, pack(others, false))];
    assert.ok(
      after.some((value, which) => which > 0 && value.some((logit, i) => logit !== before[which]![i])),
      "without boundaries it shows",
    );
  });
}
