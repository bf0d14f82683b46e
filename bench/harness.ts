// What the benchmarks share: rows, turns between us and a peer, and medians. The files of benches/ are all there are.
import { readFileSync } from "node:fs";

export interface Row {
  name: string;
  threads: number;
  value: number;
  unit: string;
  /** Who was measured beside us in the same run; null where nobody was, or it is not installed. */
  peer: string | null;
  peerValue: number | null;
  /** value / peerValue. */
  ratio: number | null;
  /** What the machine could do at most, in the same unit, measured in the same run. */
  limit: number | null;
  /** value / limit. */
  share: number | null;
}

export interface BenchContext {
  threads: readonly number[];
  /** Whether a row of this name is asked for. */
  wants(name: string): boolean;
  /** A sentence for people: what is missing, and how to get it. */
  note(text: string): void;
}

export interface Bench {
  rows(context: BenchContext): AsyncGenerator<Row>;
}

/** Identity: checks the shape of a file of benches/. */
export function defineBench(bench: Bench): Bench {
  return bench;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Lets subjects take turns, so that what else the machine does meets them alike; the median of each, in milliseconds. */
export async function takeTurns(
  subjects: readonly (() => Promise<number> | number)[],
  turns: number,
): Promise<number[]> {
  const times: number[][] = subjects.map(() => []);
  for (let turn = 0; turn < turns; turn++) {
    for (const [index, subject] of subjects.entries()) times[index]!.push(await subject());
  }
  return times.map(median);
}

/** Milliseconds of one call. */
export function milliseconds(run: () => void): number {
  const started = performance.now();
  run();
  return performance.now() - started;
}

/** Memory of this process now. What gives nothing back while it is measured is at its peak then. */
export function residentBytes(): number {
  return Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096;
}

/** A row; what is null is not there. */
export function row(
  name: string,
  threads: number,
  value: number,
  unit: string,
  beside: { peer?: string | null; peerValue?: number | null; limit?: number | null } = {},
): Row {
  const { peer = null, peerValue = null, limit = null } = beside;
  return {
    name,
    threads,
    value,
    unit,
    peer,
    peerValue,
    ratio: peerValue === null ? null : value / peerValue,
    limit,
    share: limit === null ? null : value / limit,
  };
}
