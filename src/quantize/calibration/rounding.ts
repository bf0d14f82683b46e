// What low-bit storage makes of a matrix, as floats: the plain rounding that searches compare their candidates by.
import type { Kernels } from "../../kernels/kernels.ts";

/** Rounds each group of a matrix's rows to what can be stored. */
export interface Rounding {
  /** Inputs that share a scale. Rows are whole groups. */
  readonly groupSize: number;
  /** Writes the stored values of `weights`, whole groups, to `out`. */
  round(out: Float32Array, weights: Float32Array): void;
}

/** ggml's Q4_0: 16 levels of one scale. */
export function symmetricRounding(kernels: Kernels): Rounding {
  let blocks = new Uint8Array(0);
  return {
    groupSize: 32,
    round(out, weights) {
      const bytes = (weights.length / 32) * 18;
      if (blocks.length < bytes) blocks = new Uint8Array(bytes);
      kernels.quantize(blocks.subarray(0, bytes), weights, "q4_0");
      kernels.dequantize(out, blocks.subarray(0, bytes), "q4_0");
    },
  };
}

/** A scale and a zero among `levels` for each group, from its least and largest number. */
export interface AffineGroups {
  /** [groups], rounded to half precision. */
  scales: Float32Array;
  /** [groups], whole numbers from 0 to levels - 1. */
  zeros: Uint8Array;
}

/** AWQ's choice: scale = (max - min) / 15, zero = -min / scale to the nearest, kept within the levels. */
export function affineGroups(weights: Float32Array, groupSize: number, levels: number): AffineGroups {
  const groups = weights.length / groupSize;
  const scales = new Float32Array(groups);
  const zeros = new Uint8Array(groups);
  for (let group = 0; group < groups; group++) {
    let low = weights[group * groupSize]!;
    let high = low;
    for (let i = group * groupSize + 1; i < (group + 1) * groupSize; i++) {
      const weight = weights[i]!;
      if (weight < low) low = weight;
      if (weight > high) high = weight;
    }
    scales[group] = Math.max(high - low, leastRange) / (levels - 1);
    zeros[group] = Math.max(0, Math.min(levels - 1, Math.round(-low / scales[group]!)));
  }
  // Levels are found with the scale that is stored.
  scales.set(new Float16Array(scales));
  return { scales, zeros };
}

/** Below this the range of a group counts as this. */
const leastRange = 1e-5;

/** 4 bits with a scale and a zero a group. */
export function affineRounding(groupSize: number, levels = 16): Rounding {
  return {
    groupSize,
    round(out, weights) {
      const { scales, zeros } = affineGroups(weights, groupSize, levels);
      for (let group = 0; group < scales.length; group++) {
        const scale = scales[group]!;
        const zero = zeros[group]!;
        const inverse = 1 / scale;
        for (let i = group * groupSize; i < (group + 1) * groupSize; i++) {
          const level = Math.floor(weights[i]! * inverse + 0.5) + zero;
          out[i] = ((level < 0 ? 0 : level >= levels ? levels - 1 : level) - zero) * scale;
        }
      }
    },
  };
}
