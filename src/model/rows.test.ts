// A row depends on the row alone: sequences in one batch give the bits that each gives by itself, dense or packed.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { createTape } from "../tensor/index.ts";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { decode, initializeDecoder, packedAttention, type Decoder } from "./decoder.ts";
import { disturbVectors, tinyConfig, tinyVariants } from "./tiny.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-rows-"));
after(() => rmSync(directory, { recursive: true }));
const kernels = loadKernels();
const lengths = [1, 7, 3, 16, 1];

/** Logits of the sequences of these numbers, one after another. */
function run(decoder: Decoder, sequences: readonly number[]): number[] {
  using tape = createTape(kernels, { recording: false });
  const rows = sequences.flatMap((sequence) =>
    Array.from({ length: lengths[sequence]! }, (_, position) => ({ sequence, position })),
  );
  const first = (of: number) => rows.findIndex(({ sequence }) => sequence === of);
  const ids = Int32Array.from(rows, ({ sequence, position }) => (3 + 5 * sequence + 7 * position) % 17);
  const positions = Int32Array.from(rows, ({ position }) => position);
  const starts = Int32Array.from(rows, ({ sequence }) => first(sequence));
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  return [...decoder.head.apply(tape, hidden).data];
}

for (const [family, changes] of tinyVariants) {
  test(`${family} ${JSON.stringify(changes)}: a batch gives the bits of its sequences alone`, () => {
    const decoder = initializeDecoder(kernels, tinyConfig(family, changes), 1);
    disturbVectors(decoder);
    const path = mkdtempSync(join(directory, family));
    saveCheckpoint(path, decoder, path);
    const alone = lengths.flatMap((_, sequence) => run(decoder, [sequence]));
    for (const inference of [false, true]) {
      const loaded = loadCheckpoint(path, kernels, { inference });
      assert.deepEqual(run(loaded, [...lengths.keys()]), alone);
    }
  });
}
