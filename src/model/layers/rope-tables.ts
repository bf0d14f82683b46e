// cos and sin of every position and frequency, computed in float64 and rounded once.
import type { Kernels } from "../../kernels/kernels.ts";
import type { RopeTables } from "../../tensor/index.ts";

/** Tables [maxPositions, headDim / 2] with frequencies theta^(-2i / headDim). */
export function ropeTables(kernels: Kernels, maxPositions: number, headDim: number, theta: number): RopeTables {
  const half = headDim / 2;
  const cos = kernels.allocate(maxPositions * half);
  const sin = kernels.allocate(maxPositions * half);
  for (let i = 0; i < half; i++) {
    const frequency = theta ** ((-2 * i) / headDim);
    for (let position = 0; position < maxPositions; position++) {
      cos[position * half + i] = Math.cos(position * frequency);
      sin[position * half + i] = Math.sin(position * frequency);
    }
  }
  return { cos, sin };
}
