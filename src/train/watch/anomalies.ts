// What goes wrong in training, noticed from the figures of each step, and named with its likely reason. Judged from
// numbers alone, never from clocks, so that a run taken up again judges as before. What to do about it is decided here
// too; the trainer does it.

export type AnomalyKind =
  | "broken-loss"
  | "broken-gradient"
  | "broken-weights"
  | "nothing-trained"
  | "zero-loss"
  | "zero-gradient"
  | "loss-spike"
  | "gradient-spike"
  | "stall";

/** skip: the update is left out. rollback: to the last good snapshot, and on with the data after. stop: end the run. */
export type AnomalyPolicy = "skip" | "rollback" | "stop";
/** note: it is only named. */
export type AnomalyAction = AnomalyPolicy | "note";

export interface Anomaly {
  kind: AnomalyKind;
  /** Counted from 1. */
  step: number;
  /** What happened, beginning with the step. */
  message: string;
  /** The likely reason, and what to do. */
  reason: string;
  figures: Record<string, number>;
}

/** What it goes by; saved with every snapshot. */
export interface DetectorState {
  /** Of the last steps, oldest first. */
  losses: number[];
  gradientNorms: number[];
  /** The step at which a kind was last named. */
  named: Partial<Record<AnomalyKind, number>>;
}

/** The figures of a step before its update. */
export interface StepFigures {
  step: number;
  /** Mean over `weight`. */
  loss: number;
  weight: number;
  /** Before clipping; NaN where it was not finite or not looked at. */
  gradientNorm: number;
  /** The message of a gradient that is not finite. */
  brokenGradient?: string | undefined;
  /** The name of a tensor that holds a number that is not finite, looked for where the loss is broken. */
  brokenTensor?: string | undefined;
}

/** Steps that are looked back on, and how many there must be before a spike is called one. */
const windowSteps = 64;
const leastSteps = 20;
/** Deviations above the median that make a spike. Gradient norms have longer tails than losses. */
const lossDeviations = 10;
const gradientDeviations = 25;
/** A deviation is at least this share of the median: a quiet run has no spikes for that. */
const leastDeviation = { loss: 0.02, gradient: 0.4 };
/** Validations without improvement that are called a stall. */
const stallValidations = 10;
/** Median absolute deviation to standard deviation, of normal numbers. */
const normalDeviation = 1.4826;

export const tryThis = "Lower the learning rate, lengthen the warm-up, or look at the data of this step.";

export function startDetector(): DetectorState {
  return { losses: [], gradientNorms: [], named: {} };
}

/**
 * Looks at a step before its update. Where the loss does not measure how well the model does (`Objective.lossMeasures`)
 * only broken numbers and batches without targets are anomalies of it, and of gradients their spikes.
 */
export function judgeStep(state: DetectorState, figures: StepFigures, lossMeasures = true): Anomaly | undefined {
  const { step, loss, weight, gradientNorm, brokenGradient, brokenTensor } = figures;
  const at = `Step ${step}`;
  if (weight === 0) {
    return {
      kind: "nothing-trained",
      step,
      message: `${at}: none of its tokens is trained on.`,
      reason: "The loss mask leaves nothing of these batches, or the examples were cut before their answers.",
      figures: {},
    };
  }
  if (!Number.isFinite(loss)) {
    const holder = brokenTensor ? `${brokenTensor} holds a number that is not finite` : "all weights are still finite";
    return {
      kind: "broken-loss",
      step,
      message: `${at}: the loss is ${loss}; ${holder}.`,
      reason: tryThis,
      figures: {},
    };
  }
  if (brokenGradient !== undefined) {
    return { kind: "broken-gradient", step, message: brokenGradient, reason: tryThis, figures: { loss } };
  }
  if (lossMeasures && loss === 0) {
    return {
      kind: "zero-loss",
      step,
      message: `${at}: the loss is exactly 0.`,
      reason: "The targets are given away by the inputs, or the loss mask trains on what is always the same.",
      figures: { loss },
    };
  }
  if (lossMeasures && gradientNorm === 0) {
    return {
      kind: "zero-gradient",
      step,
      message: `${at}: the gradient is exactly 0 at a loss of ${loss.toPrecision(4)}.`,
      reason: "Nothing that is trained has an influence on the loss: look at which weights are trained.",
      figures: { loss, gradientNorm },
    };
  }
  const spike = lossMeasures
    ? spikeOf("loss-spike", step, "loss", loss, state.losses, lossDeviations, leastDeviation.loss)
    : undefined;
  return (
    spike ??
    spikeOf(
      "gradient-spike",
      step,
      "gradient norm",
      gradientNorm,
      state.gradientNorms,
      gradientDeviations,
      leastDeviation.gradient,
    )
  );
}

/** Remembers a step whose update was made. */
export function acceptStep(state: DetectorState, { loss, gradientNorm }: StepFigures): void {
  for (const [window, value] of [
    [state.losses, loss],
    [state.gradientNorms, gradientNorm],
  ] as const) {
    window.push(value);
    if (window.length > windowSteps) window.shift();
  }
}

/** Weights that are found broken after the update of a step. */
export function brokenWeights(step: number, tensor: string): Anomaly {
  return {
    kind: "broken-weights",
    step,
    message: `Step ${step}: its update made ${tensor} hold a number that is not finite.`,
    reason: tryThis,
    figures: {},
  };
}

/** Looks at a validation; `since` counts those without improvement, this one included. */
export function judgeValidation(step: number, loss: number, best: number, since: number): Anomaly | undefined {
  if (since === 0 || since % stallValidations !== 0) return undefined;
  return {
    kind: "stall",
    step,
    message: `Step ${step}: the validation loss, now ${loss.toPrecision(4)}, has not been below ${best.toPrecision(4)} for ${since} validations.`,
    reason: "The model has learned what it can from these data at this rate: end here, lower the rate, or add data.",
    figures: { validationLoss: loss, best, validations: since },
  };
}

/**
 * What is done. Without a policy, what would spoil the weights stops the run and all else is only named. A stall is only
 * ever named (early stopping ends runs), and a step without targets has no update to make.
 */
export function actionOn(
  { kind }: Anomaly,
  policy: AnomalyPolicy | undefined,
  weightsAreBroken: boolean,
): AnomalyAction {
  switch (kind) {
    case "stall":
      return "note";
    case "nothing-trained":
      return "skip";
    case "broken-loss":
    case "broken-gradient":
    case "broken-weights":
      // Leaving out an update does not mend weights.
      if (policy === "skip" && weightsAreBroken) return "stop";
      return policy ?? "stop";
    case "zero-loss":
    case "zero-gradient":
    case "loss-spike":
    case "gradient-spike":
      return policy ?? "note";
    default:
      return kind satisfies never;
  }
}

/** Whether something that is only named should be named again: not where it was within the window. */
export function worthNaming(state: DetectorState, { kind, step }: Anomaly): boolean {
  const last = state.named[kind];
  if (last !== undefined && step >= last && step - last < windowSteps) return false;
  state.named[kind] = step;
  return true;
}

function spikeOf(
  kind: "loss-spike" | "gradient-spike",
  step: number,
  what: string,
  value: number,
  window: readonly number[],
  deviations: number,
  least: number,
): Anomaly | undefined {
  if (window.length < leastSteps) return undefined;
  const median = medianOf(window);
  // Around zero there is no measure of what is far.
  if (median <= 0) return undefined;
  const spread = normalDeviation * medianOf(window.map((each) => Math.abs(each - median)));
  const limit = median + deviations * Math.max(spread, least * median);
  if (value <= limit) return undefined;
  return {
    kind,
    step,
    message: `Step ${step}: the ${what} is ${value.toPrecision(4)}; the median of the last ${window.length} steps is ${median.toPrecision(4)}, and ${limit.toPrecision(4)} would still be usual.`,
    reason: `The data of this step are unlike the others, or the learning rate is too high. ${tryThis}`,
    figures: { value, median, limit },
  };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
