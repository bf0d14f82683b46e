// What runs over preferences share once their objective is there: optimizer, steps, the trainer, what is written.
import type { ManifestInput } from "../../formats/manifest.ts";
import { withPrecision, loadKernels, type Kernels } from "../../kernels/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import { createTape, randomPermutation, type Tape, type Tensor } from "../../tensor/index.ts";
import { describeTuned, hashInputs, openTuned, type TunedModel, type TuningPlaces } from "../tuning.ts";
import type { DataSource } from "../data/index.ts";
import { finetuneDefaults, tuningShape, type FinetuneSettings } from "../finetune.ts";
import type { Hook } from "../hooks.ts";
import type { Objective } from "../objective.ts";
import { createOptimizer } from "../optimizer.ts";
import { validate } from "../passes.ts";
import { checkTraining, describePlan, planTraining } from "../plan/plan.ts";
import { checkBatches, type Ranks } from "../ranks.ts";
import { openRunDirectory, type RunDirectory } from "../run-directory.ts";
import { scheduleOver } from "../schedule.ts";
import { stepsWithin } from "../steps-within.ts";
import { train } from "../trainer.ts";
import { copyRecords, type MetricsRow } from "../watch/meters.ts";

export type PreferenceRunSettings = FinetuneSettings;

/** Far below those of fine-tuning: a model is to change its choices, not its language. */
export const preferenceRates: Record<PreferenceRunSettings["method"], number> = { lora: 5e-5, full: 1e-6 };

export const preferenceDefaults: PreferenceRunSettings = {
  ...finetuneDefaults,
  batchTokens: 4096,
  schedule: { kind: "linear", peak: preferenceRates[finetuneDefaults.method], warmupShare: 0.1, finalShare: 0 },
};

/** What was given, and the defaults of all else. */
export function withDefaults<Given extends Partial<PreferenceRunOptions>>(given: Given) {
  const schedule = {
    ...preferenceDefaults.schedule,
    peak: preferenceRates[given.method ?? preferenceDefaults.method],
  };
  return { signal: new AbortController().signal, ...preferenceDefaults, schedule, ...given };
}

export interface PreferenceRunOptions extends PreferenceRunSettings, TuningPlaces {
  /** Files, directories or datasets of the hub. */
  data: readonly DataSource[];
  /** Held-out data; else a share of `data` is. */
  validation?: readonly DataSource[];
  until: { steps: number } | { minutes: number } | { epochs: number };
  /** What looks at the model in between, made once it is open. */
  hooks?(tuned: TunedModel, directory: string): readonly Hook[];
  signal: AbortSignal;
}

export interface PreferenceResult {
  /** Pairs, rated answers or prompts that were trained on, and held out. */
  examples: number;
  heldOut: number;
  trainableParameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Of what was held out, before and after. */
  validationLossBefore: number;
  validationLoss: number;
  /** Figures of what was held out, by name. */
  before: Record<string, number>;
  after: Record<string, number>;
  curve: readonly MetricsRow[];
}

/** A run's directory, model and place in a group of ranks, as they are opened. */
export interface OpenRun {
  kernels: Kernels;
  ranks: Ranks;
  tuned: TunedModel;
  /** Most tokens of a sequence. */
  longest: number;
}

/** Reckons what the run will take and opens the model. Throws a Failure where it cannot fit. */
export async function* openModel(options: PreferenceRunOptions, ranks: Ranks): Job<OpenRun> {
  checkBatches(options.accumulate, ranks);
  const plan = planTraining(tuningShape(options.model, options, undefined, ranks));
  yield { type: "note", text: describePlan(plan) };
  checkTraining(plan);
  const kernels = loadKernels();
  const tuned = openTuned(kernels, options.model, options);
  yield { type: "note", text: describeTuned(tuned, options) };
  const { maxPositions } = tuned.decoder.config;
  return { kernels, ranks, tuned, longest: Math.min(maxPositions, options.examples.maxLength ?? Infinity) };
}

/** The tape of a run, with its precision. */
export function openTape(kernels: Kernels, { precision = "f32" }: Pick<PreferenceRunSettings, "precision">): Tape {
  return createTape(withPrecision(kernels, precision), { recording: true });
}

export interface OpenPlace {
  run: RunDirectory;
  inputs: Record<string, ManifestInput>;
  /** All that shapes the run, as plain data. */
  shaping: Record<string, unknown>;
  /** Tells this run's model, data and options from others'. */
  key: string;
}

/** Options that say where things are and how a run is watched by its caller, not what comes out. */
const unshaping: ReadonlySet<string> = new Set(
  "model data validation out merged until hooks signal webhook tensorboard keepSaves".split(" "),
);

/** Opens the directory of a run. `more` are settings of its own. */
export async function openPlace(options: PreferenceRunOptions, more: object, ranks: Ranks): Promise<OpenPlace> {
  const { model, data, validation, out, until, examples, lora, base } = options;
  const inputs = await hashInputs(model, [...data, ...(validation ?? [])]);
  const shaping = { ...Object.fromEntries(Object.entries(options).filter(([name]) => !unshaping.has(name))), ...more };
  const hashes = Object.fromEntries(Object.entries(inputs).map(([name, { sha256 }]) => [name, sha256]));
  const run = openRunDirectory(out, { ...shaping, until, inputs: hashes }, ranks);
  return {
    run,
    inputs,
    shaping,
    key: JSON.stringify([hashes, more, options.seed, options.batchTokens, examples, lora, base]),
  };
}

export interface RunParts<B> {
  /** The name of the progress bar. */
  name: string;
  options: PreferenceRunOptions;
  open: OpenRun;
  place: OpenPlace;
  tape: Tape;
  objective: Objective<B>;
  validation: readonly B[];
  counts: { examples: number; heldOut: number };
  /** Trained beside the model. */
  more?: readonly Tensor[];
  /** Batches that so many epochs take. */
  batchesOf(epochs: number): number;
  /** Called at snapshots while the decoder holds the weights to be handed out. */
  onSave?(step: number): Promise<void>;
  /** Writes the result. */
  write(
    record: { inputs: OpenPlace["inputs"]; options: Record<string, unknown>; metrics: Record<string, number> },
    beside: (directory: string) => void,
  ): Promise<void>;
}

/** Trains an objective to the end and writes what came of it. */
export async function* runPreference<B>(parts: RunParts<B>): Job<PreferenceResult> {
  const { options, open, place, tape, objective, validation, more = [], counts } = parts;
  const { until, hooks, signal, accumulate } = options;
  const { kernels, ranks, tuned } = open;
  const { run } = place;
  for (const text of run.notes) yield { type: "note", text };
  const trained = [...tuned.trained, ...more];
  const trainableParameters = trained.reduce((count, { data }) => count + data.length, 0);
  const optimizer = createOptimizer(kernels, tuned.decoder, trained, options.optimizer, {
    ranks,
    ...(options.zero !== undefined && { zeroGroup: options.zero }),
  });
  const before = await validate({ tape, objective, ranks }, validation, 0);
  if (run.steps === undefined) run.decideSteps(decideSteps());
  function decideSteps(): number {
    if ("steps" in until) return until.steps;
    if ("epochs" in until) return Math.max(1, Math.ceil(parts.batchesOf(until.epochs) / accumulate));
    if (objective.prepare) {
      throw new Failure(
        "usage",
        "How many steps fit into a time cannot be known where answers are made in between.",
        "Give --steps or --epochs.",
      );
    }
    const sampler = objective.sampler(undefined);
    const pass = (): void => {
      for (let i = ranks.rank; i < accumulate; i += ranks.size) objective.run(tape, sampler.next(), 1e-3);
      optimizer.exchange?.finish(tape);
    };
    return stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
  }
  const steps = run.steps!;
  const result = yield* train({
    ...options,
    name: parts.name,
    tape,
    decoder: tuned.decoder,
    optimizer,
    schedule: scheduleOver(steps, options.schedule),
    objective,
    ranks,
    validation,
    workDirectory: run.path,
    hooks: hooks?.(tuned, run.path) ?? [],
    onSave: async (step, reason) => {
      if (reason !== "end") await parts.onSave?.(step);
    },
    signal,
  });
  const after = await validate({ tape, objective, ranks }, validation, result.steps);
  const metrics = {
    steps: result.steps,
    trainableParameters,
    trainLoss: result.lastLoss,
    ...(validation.length > 0 && { validationLossBefore: before.loss, validationLoss: after.loss }),
    tokensPerSecond: result.tokensPerSecond,
    ...after.parts,
  };
  if (ranks.rank === 0) {
    const record = { inputs: place.inputs, options: { ...place.shaping, until, steps }, metrics };
    await parts.write(record, (directory) => copyRecords(run.path, directory));
  }
  ranks.meet();
  run.remove();
  return {
    ...counts,
    trainableParameters,
    steps: result.steps,
    tokensPerSecond: result.tokensPerSecond,
    validationLossBefore: before.loss,
    validationLoss: after.loss,
    before: before.parts,
    after: after.parts,
    curve: result.curve,
  };
}

/** Of `minutes`, what the steps may take. */
const stepShare = 0.85;
/** Examples held out at most. */
const mostHeldOut = 200;

/** Which of so many examples are held out. */
export function heldOut(
  count: number,
  { seed, validationShare }: Pick<FinetuneSettings, "seed" | "validationShare">,
): Set<number> {
  const wanted = validationShare === 0 ? 0 : Math.max(1, Math.floor(validationShare * count));
  return new Set(randomPermutation(seed, 1, count).subarray(0, Math.min(wanted, mostHeldOut, count - 1)));
}
