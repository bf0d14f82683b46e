// What the clock says of steps: tokens a second, the share of the machine's peak, memory, and steps that hung.
import { machine, measurePeak, type Kernels } from "../../kernels/index.ts";
import type { TimingRow } from "./meters.ts";

export interface Clock {
  /** Takes in a step that took so long. */
  step(step: number, tokens: number, seconds: number): TimingRow;
  /** Over the last steps: what is watched live. */
  recent(): { tokensPerSecond: number; mfu?: number };
  /** A sentence where the last step took very much longer than steps of so many tokens do. */
  slowness(): string | undefined;
  /** Over all steps so far; 0 before the first. */
  readonly tokensPerSecond: number;
}

const windowSteps = 64;
const leastSteps = 10;
/** Steps that live figures are the mean of. */
const liveSteps = 10;
/** Times what is usual, and seconds, from which a step is called slow. */
const slowFactor = 10;
const slowSeconds = 5;

/** `flopsPerToken` gives the MFU: of the float32 peak, measured now on the threads in use, of so many processes. */
export function createClock(kernels: Kernels, flopsPerToken: number | undefined, processes: number): Clock {
  const measured = flopsPerToken !== undefined && kernels.name === "native";
  const peak = measured ? 1e9 * processes * measurePeak("f32", machine().threads) : undefined;
  const started = performance.now();
  const window: { step: number; tokens: number; seconds: number }[] = [];
  let allTokens = 0;
  let allSeconds = 0;
  const speedOf = (tokens: number, seconds: number): { tokensPerSecond: number; mfu?: number } => ({
    tokensPerSecond: tokens / seconds,
    ...(peak !== undefined && { mfu: ((tokens / seconds) * flopsPerToken!) / peak }),
  });
  return {
    step(step, tokens, seconds) {
      window.push({ step, tokens, seconds });
      if (window.length > windowSteps) window.shift();
      allTokens += tokens;
      allSeconds += seconds;
      return {
        step,
        elapsedSeconds: (performance.now() - started) / 1000,
        seconds,
        ...speedOf(tokens, seconds),
        residentBytes: process.memoryUsage.rss(),
      };
    },
    recent() {
      const last = window.slice(-liveSteps);
      const sum = (pick: (step: { tokens: number; seconds: number }) => number): number =>
        last.reduce((total, step) => total + pick(step), 0);
      return speedOf(
        sum(({ tokens }) => tokens),
        sum(({ seconds }) => seconds),
      );
    },
    slowness() {
      const before = window.slice(0, -1);
      if (before.length < leastSteps) return undefined;
      const { step, tokens, seconds } = window.at(-1)!;
      const paces = before.map((each) => each.seconds / each.tokens).sort((a, b) => a - b);
      const usual = paces[paces.length >> 1]! * tokens;
      if (seconds < slowSeconds || seconds < slowFactor * usual) return undefined;
      return (
        `Step ${step} took ${seconds.toFixed(1)} s where ${usual.toFixed(2)} s are usual: ` +
        "the machine was busy with something else, slept, or is out of memory and swaps."
      );
    },
    get tokensPerSecond() {
      return allSeconds === 0 ? 0 : allTokens / allSeconds;
    },
  };
}
