// Exponential averages of the weights: smoother than the weights of any one step, and what is validated and handed out
// where a run keeps them.
import type { Kernels } from "../kernels/kernels.ts";
import type { Tensor } from "../tensor/index.ts";
import type { StateEntry } from "./optimizers/optimizer.ts";

export interface Averages {
  /** Named after their parameter; saved and loaded with it. */
  readonly state: readonly StateEntry[];
  /** Takes in the weights after a step, counted from 1. */
  update(step: number): void;
  /** Exchanges the weights and their averages, to the bit; a second call puts them back. */
  swap(): void;
}

/**
 * average = d * average + (1 - d) * weight, d the smaller of `decay` and (1 + step) / (10 + step): the average follows
 * fast at first, so that it does not remember the weights before training (as TensorFlow's ExponentialMovingAverage).
 */
export function createAverages(kernels: Kernels, parameters: readonly Tensor[], decay: number): Averages {
  const state = parameters.map(({ name, shape, data }) => {
    const average = kernels.allocate(data.length);
    average.set(data);
    return { name: `${name}#average`, shape, data: average };
  });
  return {
    state,
    update(step) {
      const kept = Math.min(decay, (1 + step) / (10 + step));
      for (const [index, { data }] of parameters.entries()) {
        const average = state[index]!.data;
        kernels.addScaled(average, average, kept, false);
        kernels.addScaled(average, data, 1 - kept, true);
      }
    },
    swap() {
      const held = kernels.allocate(Math.max(...parameters.map(({ data }) => data.length)));
      for (const [index, { data }] of parameters.entries()) {
        const average = state[index]!.data;
        held.set(data);
        data.set(average);
        average.set(held.subarray(0, data.length));
      }
    },
  };
}
