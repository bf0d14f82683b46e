// What the clock says of steps: tokens a second, the share of the machine's peak, memory, and steps that hung.
import { machine, measurePeak, type Kernels } from "../../kernels/index.ts";
import type { TimingRow } from "./meters.ts";

export interface Clock {
  /** Takes in a step that took so long. */
  step(step: number, tokens: number, seconds: number): TimingRow;
  /** A sentence where the last step took very much longer than steps do. */
  slowness(): string | undefined;
  /** Over all steps so far; 0 before the first. */
  readonly tokensPerSecond: number;
}

const windowSteps = 64;
const leastSteps = 10;
/** Times the median, and seconds, from which a step is called slow. */
const slowFactor = 10;
const slowSeconds = 5;

/** `flopsPerToken` gives the MFU: of the float32 peak, measured now on the threads in use, of so many processes. */
export function createClock(kernels: Kernels, flopsPerToken: number | undefined, processes: number): Clock {
  const measured = flopsPerToken !== undefined && kernels.name === "native";
  const peak = measured ? 1e9 * processes * measurePeak("f32", machine().threads) : undefined;
  const started = performance.now();
  const recent: number[] = [];
  let last: { step: number; seconds: number; median: number } | undefined;
  let allTokens = 0;
  let allSeconds = 0;
  return {
    step(step, tokens, seconds) {
      const sorted = recent.toSorted((a, b) => a - b);
      last = { step, seconds, median: recent.length < leastSteps ? Infinity : sorted[sorted.length >> 1]! };
      recent.push(seconds);
      if (recent.length > windowSteps) recent.shift();
      allTokens += tokens;
      allSeconds += seconds;
      const tokensPerSecond = tokens / seconds;
      return {
        step,
        elapsedSeconds: (performance.now() - started) / 1000,
        seconds,
        tokensPerSecond,
        ...(peak === undefined ? {} : { mfu: (tokensPerSecond * flopsPerToken!) / peak }),
        residentBytes: process.memoryUsage.rss(),
      };
    },
    slowness() {
      if (last === undefined || last.seconds < slowSeconds || last.seconds < slowFactor * last.median) return undefined;
      return (
        `Step ${last.step} took ${last.seconds.toFixed(1)} s where ${last.median.toFixed(2)} s are usual: ` +
        "the machine was busy with something else, slept, or is out of memory and swaps."
      );
    },
    get tokensPerSecond() {
      return allSeconds === 0 ? 0 : allTokens / allSeconds;
    },
  };
}
