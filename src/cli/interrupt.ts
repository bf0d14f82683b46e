// Ctrl-C, SIGTERM and SIGUSR2 as an AbortSignal; a second Ctrl-C leaves at once. mpirun ends its ranks soon after it is
// told to end itself, but passes SIGUSR2 on to them and waits.

/** One key press can arrive twice: from the terminal, and passed on by npm. */
const samePressMs = 400;

/** Listens until `release`. `onFirst` runs when the signal is aborted. */
export function onInterrupt(onFirst: () => void): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  let firstAt = 0;
  const stop = () => {
    if (controller.signal.aborted) {
      if (performance.now() - firstAt > samePressMs) process.exit(130);
      return;
    }
    firstAt = performance.now();
    onFirst();
    controller.abort();
  };
  const signals = ["SIGINT", "SIGTERM", "SIGUSR2"] as const;
  for (const name of signals) process.on(name, stop);
  return {
    signal: controller.signal,
    release() {
      for (const name of signals) process.off(name, stop);
    },
  };
}
