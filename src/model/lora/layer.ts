// A frozen layer with an adapter beside it: plain LoRA (Hu et al., arXiv 2106.09685), or DoRA (arXiv 2402.09353), whose
// rows are brought to trained lengths after the low-rank change. The base may be dense, packed or frozen.
import type { Kernels } from "../../kernels/kernels.ts";
import {
  columnsOf,
  createTape,
  dropout,
  linear,
  rowsOf,
  scale,
  scaleColumns,
  type LogitTerm,
  type Tape,
  type Tensor,
} from "../../tensor/index.ts";
import type { Linear } from "../layers/linear.ts";
import type { LoraPair } from "./pair.ts";

/** How inputs of an adapter are dropped: this share of them, by masks of this stream. */
export interface LoraDropout {
  rate: number;
  seed: number;
  stream: number;
}

/**
 * Plain: base(x) + factor * (d(x) A^T) B^T, with d the dropout. DoRA: with the weight W + factor B A whose row o is made
 * magnitude[o] long, only the low-rank part meeting d(x); how long the rows were counts as a constant in the gradient.
 * A saved adapter brings these lengths; otherwise they are taken anew in each pass.
 */
export function loraLinear(
  base: Linear,
  pair: LoraPair,
  { drop, lengths }: { drop?: LoraDropout; lengths?: Float64Array } = {},
): Linear {
  const { terms } = base;
  const lowRank = (tape: Tape, x: Tensor): Tensor => {
    const { randomKey } = tape.pass;
    const dropped =
      drop && drop.rate > 0 && randomKey !== undefined
        ? dropout(tape, x, drop.rate, [drop.seed, randomKey, drop.stream])
        : x;
    const down = linear(tape, dropped, pair.a);
    const scaled = scale(tape, down, pair.factor);
    tape.give(down);
    if (dropped !== x) tape.give(dropped);
    return scaled;
  };
  const { magnitude } = pair;
  const common = {
    name: base.name,
    outputs: base.outputs,
    inputs: base.inputs,
    weight: base.weight,
    frozen: base.frozen,
    bias: base.bias,
  };
  if (magnitude) {
    const lengthsOf = trainedLengths(base, pair);
    return {
      ...common,
      apply(tape, x, residual) {
        if (!pair.enabled) return base.apply(tape, x, residual);
        const y = base.apply(tape, x);
        const low = lowRank(tape, x);
        const changed = linear(tape, low, pair.b, y);
        tape.give(y, low);
        const out = scaleColumns(tape, changed, magnitude, lengths ?? lengthsOf(tape.kernels), base.bias, residual);
        tape.give(changed);
        return out;
      },
      ...(terms && {
        terms(tape: Tape, x: Tensor): LogitTerm[] {
          if (!pair.enabled) return terms(tape, x);
          const columns = { magnitude, lengths: lengths ?? lengthsOf(tape.kernels) };
          return [...terms(tape, x), { x: lowRank(tape, x), weight: pair.b, scale: columns }];
        },
      }),
    };
  }
  return {
    ...common,
    apply(tape, x, residual) {
      const y = base.apply(tape, x, residual);
      if (!pair.enabled) return y;
      const low = lowRank(tape, x);
      const out = linear(tape, low, pair.b, y);
      tape.give(y, low);
      return out;
    },
    ...(terms && {
      terms: (tape: Tape, x: Tensor) => [
        ...terms(tape, x),
        ...(pair.enabled ? [{ x: lowRank(tape, x), weight: pair.b }] : []),
      ],
    }),
  };
}

/** The lengths of the rows beside which an adapter is trained: new in each pass. */
function trainedLengths(base: Linear, pair: LoraPair): (kernels: Kernels) => Float64Array {
  let squares: Float64Array | undefined;
  return (kernels) => rowLengths(kernels, base, pair, (squares ??= base.squaredRowLengths!()));
}

/**
 * The lengths of the rows of W + factor B A [outputs], from the squares of those of W. Besides them only the products
 * W A^T are needed: |w + f b A|^2 = |w|^2 + 2 f b (A w) + f^2 b (A A^T) b.
 */
export function rowLengths(
  kernels: Kernels,
  base: Linear,
  { a, b, factor }: LoraPair,
  squares: Float64Array,
): Float64Array {
  const rank = rowsOf(a);
  const { outputs, bias } = base;
  const aside = asideTape(kernels);
  const products = base.apply(aside, a).data;
  const gram = aside.take([rank, rank], "gram").data;
  kernels.matmul(gram, a.data, a.data, rank, rank, columnsOf(a), "nt", false);
  const lengths = Float64Array.from({ length: outputs }, (_, output) => {
    const shift = bias ? bias.data[output]! : 0;
    let square = squares[output]!;
    for (let i = 0; i < rank; i++) {
      const row = b.data[output * rank + i]! * factor;
      let inner = 2 * (products[i * outputs + output]! - shift);
      for (let j = 0; j < rank; j++) inner += gram[i * rank + j]! * b.data[output * rank + j]! * factor;
      square += row * inner;
    }
    return Math.sqrt(Math.max(0, square));
  });
  aside.reset();
  return lengths;
}

const asideTapes = new WeakMap<Kernels, Tape>();

/** A tape for what is no part of what is differentiated; the layers of every pass share its buffers. */
function asideTape(kernels: Kernels): Tape {
  let tape = asideTapes.get(kernels);
  if (!tape) asideTapes.set(kernels, (tape = createTape(kernels, { recording: false })));
  return tape;
}
