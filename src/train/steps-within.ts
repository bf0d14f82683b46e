// How many steps fit into a time.

/** Runs `step` three times and reckons from the second and third; what they computed is the caller's to throw away. */
export function stepsWithin(milliseconds: number, step: () => void): number {
  step();
  const started = performance.now();
  step();
  step();
  return Math.max(2, Math.floor(milliseconds / ((performance.now() - started) / 2)));
}
