// Layers whose weights are never trained and stay in the bits of their file, or in NF4: what is below them is trained, and
// so is what lies beside them.
import type { FrozenWeight, Kernels } from "../../kernels/kernels.ts";
import { frozenLinear as frozenLinearOp, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Embedding } from "./embedding.ts";
import type { Linear } from "./linear.ts";

/** Numbers that are decoded at once where a whole weight is gone through: 4 MiB of float32. */
const chunkNumbers = 1 << 20;

/** A layer by a frozen weight; equal to the bit to the dense layer of the weight's numbers. `name` is without ".weight". */
export function frozenLinear(kernels: Kernels, name: string, frozen: FrozenWeight, bias?: Tensor): Linear {
  const { outputs, inputs } = frozen;
  return {
    name,
    outputs,
    inputs,
    weight: undefined,
    frozen,
    bias,
    apply: (tape, x, residual) => frozenLinearOp(tape, x, frozen, name, residual, bias),
    ...(!bias && { terms: (_tape: Tape, x: Tensor) => [{ x, weight: frozen }] }),
    squaredRowLengths: () => squaredRowLengths(kernels, frozen),
  };
}

/** A table by a frozen weight, of which only the rows asked for are decoded. `name` ends in ".weight". */
export function frozenEmbedding(name: string, frozen: FrozenWeight): Embedding {
  const { outputs: vocabSize, inputs: hiddenSize, data } = frozen;
  return {
    name,
    weight: undefined,
    frozen,
    bytes: data.byteLength,
    lookup(tape, ids) {
      const y = tape.take([ids.length, hiddenSize], "embedding");
      for (const [row, id] of ids.entries()) {
        if (id < 0 || id >= vocabSize) throw new RangeError(`id ${id} is outside a vocabulary of ${vocabSize}`);
        tape.kernels.decodeFrozen(y.data.subarray(row * hiddenSize, (row + 1) * hiddenSize), frozen, id, 1);
      }
      return y;
    },
  };
}

/** Calls `visit` with the weight's numbers, some whole rows at a time, in their order. */
export function forRows(
  kernels: Kernels,
  frozen: FrozenWeight,
  visit: (numbers: Float32Array, firstRow: number) => void,
): void {
  const { outputs, inputs } = frozen;
  const rows = Math.max(1, Math.floor(chunkNumbers / inputs));
  const numbers = new Float32Array(Math.min(rows, outputs) * inputs);
  for (let first = 0; first < outputs; first += rows) {
    const count = Math.min(rows, outputs - first);
    const part = numbers.subarray(0, count * inputs);
    kernels.decodeFrozen(part, frozen, first, count);
    visit(part, first);
  }
}

function squaredRowLengths(kernels: Kernels, frozen: FrozenWeight): Float64Array {
  const { outputs, inputs } = frozen;
  const squares = new Float64Array(outputs);
  forRows(kernels, frozen, (numbers, firstRow) => {
    for (let i = 0; i < numbers.length; i++) squares[firstRow + Math.floor(i / inputs)]! += numbers[i]! * numbers[i]!;
  });
  return squares;
}
