// The figures that a progress event carries: the newest of each, in one order.
import type { Clock } from "./clock.ts";
import type { MetricsRow, TimingRow } from "./meters.ts";

const figures = ["loss", "validationLoss", "learningRate", "gradientNorm", "updateNorm", "weightNorm"] as const;

/** Takes in the row of a step and gives what is shown after it. */
export function createLiveFigures(
  clock: Clock,
): (row: MetricsRow, timing: Pick<TimingRow, "residentBytes">) => Record<string, number> {
  const newest = new Map<string, number>();
  const parts = new Map<string, number>();
  return (row, { residentBytes }) => {
    for (const name of figures) if (row[name] !== undefined) newest.set(name, row[name]);
    for (const [name, value] of Object.entries(row.parts ?? {})) parts.set(name, value);
    return {
      ...Object.fromEntries(figures.flatMap((name) => (newest.has(name) ? [[name, newest.get(name)!]] : []))),
      ...clock.recent(),
      residentBytes,
      ...Object.fromEntries(parts),
    };
  };
}
