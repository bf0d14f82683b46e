// The learning rate by step.

export interface Schedule {
  /** wsd: warm-up, then the peak, then a decay over the last steps (arXiv 2404.06395). */
  kind: "constant" | "cosine" | "linear" | "wsd";
  /** The highest learning rate. */
  peak: number;
  /** Steps of linear warm-up from zero. */
  warmupSteps: number;
  totalSteps: number;
  /** The last learning rate as a share of the peak (all but constant). */
  finalShare: number;
  /** wsd: the share of the steps that decays. Default 0.2. */
  decayShare?: number;
  /** wsd: along a line, or as one minus the square root of the way (arXiv 2405.18392). Default linear. */
  decay?: "linear" | "one-minus-sqrt";
}

/** A schedule before it is known how long the run is. */
export type ScheduleSettings = Omit<Schedule, "totalSteps" | "warmupSteps"> & {
  /** Share of the steps in which the rate rises. */
  warmupShare: number;
  /** Steps in which the rate rises, in place of a share. */
  warmupSteps?: number;
};

/** The schedule of a run of so many steps; at least one of them is warm-up. */
export function scheduleOver(totalSteps: number, { warmupShare, ...settings }: ScheduleSettings): Schedule {
  const warmupSteps = settings.warmupSteps ?? Math.round(warmupShare * totalSteps);
  return { ...settings, totalSteps, warmupSteps: Math.max(1, warmupSteps) };
}

/** The learning rate of a step, counted from 0. */
export function learningRateAt(step: number, schedule: Schedule): number {
  const { kind, peak, warmupSteps, totalSteps, finalShare } = schedule;
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps;
  // From 0 at the end of the warm-up to 1 at the last step.
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - 1 - warmupSteps));
  const between = (share: number): number => peak * (finalShare + (1 - finalShare) * share);
  switch (kind) {
    case "constant":
      return peak;
    case "cosine":
      return between(0.5 * (1 + Math.cos(Math.PI * progress)));
    case "linear":
      return between(1 - progress);
    case "wsd": {
      const decaySteps = Math.max(1, Math.round((schedule.decayShare ?? 0.2) * totalSteps));
      const way = Math.min(1, Math.max(0, (step + 1 - (totalSteps - decaySteps)) / decaySteps));
      return between(1 - (schedule.decay === "one-minus-sqrt" ? Math.sqrt(way) : way));
    }
    default:
      return kind satisfies never;
  }
}
