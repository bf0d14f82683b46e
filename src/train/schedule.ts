// The learning rate by step.

export interface Schedule {
  kind: "cosine" | "constant";
  /** The highest learning rate. */
  peak: number;
  /** Steps of linear warm-up from zero. */
  warmupSteps: number;
  totalSteps: number;
  /** The last learning rate as a share of the peak (cosine). */
  finalShare: number;
}

/** A schedule before it is known how long the run is. */
export type ScheduleSettings = Omit<Schedule, "totalSteps" | "warmupSteps"> & {
  /** Share of the steps in which the rate rises. */
  warmupShare: number;
};

/** The schedule of a run of so many steps; at least one of them is warm-up. */
export function scheduleOver(totalSteps: number, { warmupShare, ...settings }: ScheduleSettings): Schedule {
  return { ...settings, totalSteps, warmupSteps: Math.max(1, Math.round(warmupShare * totalSteps)) };
}

/** The learning rate of a step, counted from 0. */
export function learningRateAt(step: number, schedule: Schedule): number {
  const { kind, peak, warmupSteps, totalSteps, finalShare } = schedule;
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  switch (kind) {
    case "constant":
      return peak;
    case "cosine": {
      const progress = (step - warmupSteps) / Math.max(1, totalSteps - 1 - warmupSteps);
      const share = finalShare + (1 - finalShare) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
      return peak * share;
    }
    default:
      return kind satisfies never;
  }
}
