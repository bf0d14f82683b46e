// Dropout (Srivastava et al., JMLR 15): numbers are dropped at random, and those kept are scaled so that the mean stays.
// The mask is a function of its key and of where a number stands, so that the backward pass draws it again.
import type { Floats } from "../../kernels/kernels.ts";
import { randomBits } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** From which a mask is drawn: a seed, the pass (`Pass.randomKey`) and the layer. */
export type MaskKey = readonly [seed: number, pass: number, stream: number];

/** x -> the same shape, with about `rate` (0..1, 1 excluded) of the numbers 0 and the others divided by 1 - rate. */
export function dropout(tape: Tape, x: Tensor, rate: number, key: MaskKey): Tensor {
  const y = tape.take(x.shape, "dropout");
  const word = randomBits(...key);
  y.data.set(x.data);
  mask(y.data, rate, word);

  if (tape.recording && x.requiresGrad) {
    tape.record([y], [], () => {
      mask(y.grad!, rate, word);
      tape.passGradient(y, x);
    });
  }
  return y;
}

/**
 * Each number meets 32 bits of its own: the finaliser "lowbias32" of C. Wellons over the key and the place. Written out,
 * since a call for each number would take longer than the product that follows.
 */
function mask(numbers: Floats, rate: number, word: number): void {
  const limit = rate * 0x1_0000_0000;
  const kept = 1 / (1 - rate);
  for (let i = 0; i < numbers.length; i++) {
    let bits = (i + 0x9e3779b9) ^ word;
    bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
    bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
    bits = (bits ^ (bits >>> 16)) >>> 0;
    numbers[i] = bits < limit ? 0 : numbers[i]! * kept;
  }
}
