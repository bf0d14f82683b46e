// How many steps fit into a time.
import type { Optimizer } from "./optimizer.ts";

const warmUps = 2;
const tries = 5;

/**
 * Takes whole steps, at a learning rate of zero, and reckons from their median; the weights stay as they are.
 * `pass` runs forward and backward over the batches of one step.
 */
export function stepsWithin(milliseconds: number, optimizer: Optimizer, pass: () => void): number {
  const times: number[] = [];
  for (let i = 0; i < warmUps + tries; i++) {
    const started = performance.now();
    pass();
    optimizer.step(1, 0);
    if (i >= warmUps) times.push(performance.now() - started);
  }
  for (const { data } of optimizer.state) data.fill(0);
  times.sort((a, b) => a - b);
  return Math.max(2, Math.floor(milliseconds / times[tries >> 1]!));
}
