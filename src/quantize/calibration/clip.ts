// The clip search: for each group of a row, how far its largest weights may be cut off so that what the row gives on
// sampled inputs changes least. Source: llm-awq, 10 steps of max (1 - i / 20).
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import type { Rounding } from "./rounding.ts";

const steps = 10;

/**
 * Weights [rows, columns] with each group clamped to the best limit; `inputs` [samples, columns] are what the columns meet.
 * The loss of a group is d G d^T for its change d and the sums of products G of its inputs.
 */
export function clipGroups(
  kernels: Kernels,
  weights: Float32Array,
  columns: number,
  inputs: Float32Array,
  rounding: Rounding,
): Float32Array {
  const { groupSize } = rounding;
  const rows = weights.length / columns;
  const samples = inputs.length / columns;
  const out = Float32Array.from(weights);
  const own = kernels.allocate(rows * groupSize) as Float32Array;
  const clipped = kernels.allocate(rows * groupSize) as Float32Array;
  const rounded = kernels.allocate(rows * groupSize) as Float32Array;
  const product = kernels.allocate(rows * groupSize);
  const sampled = kernels.allocate(samples * groupSize);
  const gram = kernels.allocate(groupSize * groupSize);
  for (let first = 0; first < columns; first += groupSize) {
    copyColumns(sampled, inputs, columns, first, groupSize);
    copyColumns(own, weights, columns, first, groupSize);
    kernels.matmul(gram, sampled, sampled, groupSize, groupSize, samples, "tn", false);
    const largest = new Float32Array(rows);
    for (let i = 0; i < own.length; i++) {
      const row = Math.floor(i / groupSize);
      largest[row] = Math.max(largest[row]!, Math.abs(own[i]!));
    }
    const best = new Float64Array(rows).fill(Infinity);
    for (let step = 0; step < steps; step++) {
      const share = 1 - step / (2 * steps);
      for (let i = 0; i < own.length; i++) {
        const limit = largest[Math.floor(i / groupSize)]! * share;
        clipped[i] = Math.max(-limit, Math.min(limit, own[i]!));
      }
      rounding.round(rounded, clipped);
      for (let i = 0; i < own.length; i++) rounded[i]! -= own[i]!;
      kernels.matmul(product, rounded, gram, rows, groupSize, groupSize, "nn", false);
      for (let row = 0; row < rows; row++) {
        let loss = 0;
        for (let i = row * groupSize; i < (row + 1) * groupSize; i++) loss += rounded[i]! * product[i]!;
        if (loss >= best[row]!) continue;
        best[row] = loss;
        out.set(clipped.subarray(row * groupSize, (row + 1) * groupSize), row * columns + first);
      }
    }
  }
  return out;
}

function copyColumns(out: Floats, from: Float32Array, columns: number, first: number, count: number): void {
  for (let row = 0; row * count < out.length; row++) {
    out.set(from.subarray(row * columns + first, row * columns + first + count), row * count);
  }
}
