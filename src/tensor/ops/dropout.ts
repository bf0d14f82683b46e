// Dropout (Srivastava et al., JMLR 15): numbers are dropped at random, and those kept are scaled so that the mean stays.
// The mask is a function of its key and of where a number stands, so that the backward pass draws it again.
import type { Floats } from "../../kernels/kernels.ts";
import { randomBits } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** From which a mask is drawn: a seed, the pass (`Pass.randomKey`) and the layer. */
export type MaskKey = readonly [seed: number, pass: number, stream: number];

/**
 * x -> the same shape, with about `rate` (0..1, 1 excluded; in steps of 2^-16) of the numbers 0 and the others divided by
 * 1 - rate.
 */
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
 * Each number meets 16 bits: half of the finaliser "lowbias32" of C. Wellons over the key and the place. Written out and
 * without a branch, which could not be predicted: it would take longer than the product that follows.
 */
function mask(numbers: Floats, rate: number, word: number): void {
  const limit = Math.round(rate * 0x1_0000);
  const factors = [1 / (1 - limit / 0x1_0000), 0] as const;
  // Of an odd length the last pair reaches past the end, where an array of numbers takes nothing.
  for (let i = 0; i < numbers.length; i += 2) {
    let bits = ((i >>> 1) + 0x1e3779b9) ^ word;
    bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
    bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
    bits ^= bits >>> 16;
    numbers[i] = numbers[i]! * factors[(((bits >>> 16) - limit) >>> 31) as 0 | 1];
    numbers[i + 1] = numbers[i + 1]! * factors[(((bits & 0xffff) - limit) >>> 31) as 0 | 1];
  }
}
