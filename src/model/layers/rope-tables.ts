// cos and sin of every position and frequency, computed in float64 and rounded once. The tables grow with the positions
// that are met, since a config may allow millions.
import type { Kernels } from "../../kernels/kernels.ts";
import type { RopeTables } from "../../tensor/index.ts";

/** Gives tables [positions, headDim / 2] with frequencies theta^(-2i / headDim), for at least so many positions. */
export type RopeSource = (positions: number) => RopeTables;

const firstPositions = 256;

export function growingRopeTables(kernels: Kernels, headDim: number, theta: number, maxPositions: number): RopeSource {
  let held = 0;
  let tables: RopeTables = { cos: kernels.allocate(0), sin: kernels.allocate(0) };
  return (positions) => {
    if (positions > held) {
      held = Math.min(maxPositions, Math.max(firstPositions, 2 * held, positions));
      tables = ropeTables(kernels, held, headDim, theta);
    }
    return tables;
  };
}

function ropeTables(kernels: Kernels, positions: number, headDim: number, theta: number): RopeTables {
  const half = headDim / 2;
  const cos = kernels.allocate(positions * half);
  const sin = kernels.allocate(positions * half);
  for (let i = 0; i < half; i++) {
    const frequency = theta ** ((-2 * i) / headDim);
    for (let position = 0; position < positions; position++) {
      cos[position * half + i] = Math.cos(position * frequency);
      sin[position * half + i] = Math.sin(position * frequency);
    }
  }
  return { cos, sin };
}
