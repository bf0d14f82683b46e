// Rotary position embedding, in place (Su et al., arXiv 2104.09864; half-split as in Hugging Face checkpoints).
import type { Floats } from "../../kernels/kernels.ts";
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

export interface RopeTables {
  /** cos and sin of position * frequency, [maxPositions, headDim / 2]. */
  cos: Floats;
  sin: Floats;
}

/** Which numbers of a row are heads to be rotated; see `Kernels.rope`. */
export interface RopeShape {
  heads: number;
  headDim: number;
  stride: number;
  offset: number;
  group: number;
  groupStride: number;
}

/** Rotates heads of x [rows, stride] by positions [rows], in place. */
export function rope(tape: Tape, x: Tensor, positions: Int32Array, tables: RopeTables, shape: RopeShape): void {
  tape.kernels.rope(x.data, positions, tables.cos, tables.sin, shape, false);
  if (tape.recording && x.requiresGrad) {
    tape.record([], [], () => tape.kernels.rope(x.grad!, positions, tables.cos, tables.sin, shape, true));
  }
}
