// Ctrl-C and SIGTERM as an AbortSignal; a second Ctrl-C leaves at once.

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
  process.on("SIGINT", stop).on("SIGTERM", stop);
  return {
    signal: controller.signal,
    release: () => void process.off("SIGINT", stop).off("SIGTERM", stop),
  };
}
