// A linear layer is whatever maps [rows, inputs] to [rows, outputs]: dense, packed for inference, or with LoRA beside it.
// Models hold Linears; LoRA and quantization replace them from outside.
import type { FrozenWeight, PackedWeight } from "../../kernels/kernels.ts";
import { addBias, linear, rowsOf, type LogitTerm, type Tape, type Tensor } from "../../tensor/index.ts";

export interface Linear {
  /** The checkpoint's name without ".weight". */
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
  /** The dense weight [outputs, inputs], where there is one. */
  readonly weight: Tensor | undefined;
  /** The weight that is never trained, where there is one: see `frozenLinear`. */
  readonly frozen?: FrozenWeight | undefined;
  /** [outputs], where the layer has one. Whoever rebuilds a layer from its weight keeps it. */
  readonly bias?: Tensor | undefined;
  /** x [rows, inputs], residual [rows, outputs] -> (x W^T + bias) + residual, rounded in this order. */
  apply(tape: Tape, x: Tensor, residual?: Tensor): Tensor;
  /** The same as products to be summed, for an output layer's loss; absent where weights are packed or a bias is there. */
  terms?(tape: Tape, x: Tensor): LogitTerm[];
  /** The sum of the squares of each row of the weight [outputs], for DoRA; absent where weights are packed. */
  squaredRowLengths?(): Float64Array;
}

/** A dense, trainable layer. */
export function denseLinear(weight: Tensor, bias?: Tensor): Linear {
  const [outputs, inputs] = weight.shape;
  return {
    name: weight.name.replace(/\.weight$/, ""),
    outputs: outputs!,
    inputs: inputs!,
    weight,
    bias,
    apply: (tape, x, residual) => linear(tape, x, weight, residual, bias),
    ...(!bias && { terms: (_tape: Tape, x: Tensor) => [{ x, weight }] }),
    squaredRowLengths: () => squaredRowLengths(weight),
  };
}

function squaredRowLengths({ data, shape }: Tensor): Float64Array {
  const [outputs, inputs] = shape as [number, number];
  const squares = new Float64Array(outputs);
  for (let row = 0, i = 0; row < outputs; row++) {
    let sum = 0;
    for (const end = i + inputs; i < end; i++) sum += data[i]! * data[i]!;
    squares[row] = sum;
  }
  return squares;
}

/** A layer for inference whose weights are packed once: floats or halves (equal to the bit to the dense layer) or low-bit. */
export function packedLinear(name: string, packed: PackedWeight, bias?: Tensor): Linear {
  const { outputs, inputs } = packed;
  return {
    name,
    outputs,
    inputs,
    weight: undefined,
    bias,
    apply(tape, x, residual) {
      const rows = rowsOf(x);
      const y = tape.take([rows, outputs], name);
      tape.kernels.matmulPacked(y.data, x.data, packed, rows);
      if (bias) addBias(tape, y, bias);
      if (residual) tape.kernels.addScaled(y.data, residual.data, 1, true);
      return y;
    },
  };
}
