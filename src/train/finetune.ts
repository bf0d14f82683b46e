// Fine-tuning on dialogues, texts and tokens: adapters beside frozen weights, or the weights themselves.
import { loadKernels, withPrecision, type Precision } from "../kernels/index.ts";
import type { Job } from "../protocol/job.ts";
import { createTape, randomPermutation } from "../tensor/index.ts";
import { tokenizerOf } from "../tokenizer/index.ts";
import { meanLength, type Batch } from "./batch.ts";
import { readExamples, sourceNames, type DataSource, type ExampleOptions, type ExampleReport } from "./data/index.ts";
import { createPackedSampler, packedBatches, packingReport, type PackedState } from "./data/packing.ts";
import { flopsPerToken } from "./flops.ts";
import type { Hook } from "./hooks.ts";
import { createOptimizer, type OptimizerSettings } from "./optimizer.ts";
import { onRanks } from "./parallel/ranks.ts";
import { validate } from "./passes.ts";
import { checkTraining, describePlan, describeSpeed, planTraining, planTrainingSpeed } from "./plan/plan.ts";
import type { TrainingShape } from "./plan/shape.ts";
import { nf4Schemes, readStoredModel } from "./plan/stored.ts";
import { checkBatches, type Ranks } from "./ranks.ts";
import { openRunDirectory } from "./run-directory.ts";
import type { Example } from "./sampler.ts";
import { scheduleOver, type ScheduleSettings } from "./schedule.ts";
import { mixedTokens } from "./sources/objective.ts";
import { runBatch } from "./step.ts";
import { stepsWithin } from "./steps-within.ts";
import { train } from "./trainer.ts";
import { watchSettings, type WatchSettings } from "./trainer-options.ts";
import {
  checkTuningPlaces,
  hashInputs,
  keepSave,
  describeTuned,
  openTuned,
  writeTuned,
  type TunedModel,
  type TuningPlaces,
  type TuningSettings,
} from "./tuning.ts";
import { copyRecords, type MetricsRow } from "./watch/meters.ts";

/** What shapes a run besides its model, its data and how long it goes on. */
export interface FinetuneSettings extends TuningSettings, WatchSettings {
  /** How data become sequences: the loss mask, the longest, what is done with those that are longer. */
  examples: Omit<ExampleOptions, "maxLength" | "seed" | "signal"> & {
    /** Most tokens of an example. Default: what a batch and the model's positions allow. */
    maxLength?: number;
  };
  /** Tokens a batch; examples are packed into it whole. */
  batchTokens: number;
  /** Batches a step, of all ranks together. */
  accumulate: number;
  /** The share of the layers whose activations are made again in the backward pass instead of being kept. Default 0. */
  checkpointing?: number;
  /** Of products; weights, sums and updates are float32. Default "f32". */
  precision?: Precision;
  schedule: ScheduleSettings;
  optimizer: OptimizerSettings;
  /** The share of the examples that is held out, where no validation data are given. */
  validationShare: number;
  /** Steps between looks at the held-out examples, and between snapshots. */
  validateEvery: number;
  snapshotEvery: number;
  /** The newest of so many snapshots are also kept as they would be handed out, in OUT.saves. Default 0. */
  keepSaves?: number;
  /** Ranks that share one set of moments (ZeRO-1). Default 1: each has all. */
  zero?: number;
}

export const finetuneDefaults: FinetuneSettings = {
  method: "lora",
  lora: { rank: 16, alpha: 32, targets: "all-linear" },
  weights: "f32",
  examples: {},
  batchTokens: 2048,
  accumulate: 1,
  schedule: { kind: "cosine", peak: 2e-4, warmupShare: 0.03, finalShare: 0 },
  optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 },
  validationShare: 0.05,
  validateEvery: 50,
  snapshotEvery: 100,
  seed: 1,
};

/** The highest learning rate where none is given: what XTuner takes for adapters, and for all weights. */
export const usualRates: Record<TuningSettings["method"], number> = { lora: 2e-4, full: 1e-5 };

export interface FinetuneOptions extends Partial<FinetuneSettings>, TuningPlaces {
  /** Files, directories or datasets of the hub. */
  data: readonly DataSource[];
  /** Held-out data; else a share of `data` is. */
  validation?: readonly DataSource[];
  until: { steps: number } | { minutes: number } | { epochs: number };
  /** What looks at the model in between, made once it is open. */
  hooks?(tuned: TunedModel, directory: string): readonly Hook[];
  /** Saves a snapshot and ends. */
  signal?: AbortSignal;
}

export interface FinetuneResult {
  examples: number;
  data: ExampleReport;
  trainableParameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Nats a trained token on examples that were held out, before and after. */
  validationLossBefore: number;
  validationLoss: number;
  curve: readonly MetricsRow[];
}

/** Examples held out at most. */
const mostHeldOut = 200;
/** Of `minutes`, what the steps may take. */
const stepShare = 0.85;

/** Tunes; under mpirun or srun on all ranks together, of which the first alone writes. */
export function finetune(given: FinetuneOptions): Job<FinetuneResult> {
  return onRanks((ranks) => finetuneOn(ranks, given));
}

async function* finetuneOn(ranks: Ranks, given: FinetuneOptions): Job<FinetuneResult> {
  const { schedule } = finetuneDefaults;
  const usual = { ...schedule, peak: usualRates[given.method ?? finetuneDefaults.method] };
  const options = { signal: new AbortController().signal, ...finetuneDefaults, schedule: usual, ...given };
  const {
    model,
    data,
    out,
    merged,
    validation: heldOut,
    until,
    hooks,
    signal,
    keepSaves = 0,
    zero = 1,
    webhook: _webhook,
    tensorboard: _tensorboard,
    ...shaping
  } = options;
  const { batchTokens, accumulate, seed } = options;
  const places = { model, out, ...(merged !== undefined && { merged }) };
  checkTuningPlaces(places, options);
  checkBatches(accumulate, ranks);
  const kernels = loadKernels();
  const tokenizer = tokenizerOf(model);
  const { config } = readStoredModel(model);
  const longest = Math.min(batchTokens, config.maxPositions, options.examples.maxLength ?? Infinity);
  const exampleOptions = { ...options.examples, maxLength: longest, seed, signal };
  const { examples, report } = yield* readExamples(tokenizer, data, exampleOptions);
  const held = heldOut && (yield* readExamples(tokenizer, heldOut, exampleOptions)).examples;
  for (const example of held ?? []) example.source += data.length;
  const [trainExamples, validationExamples] = held ? [examples, held] : split(examples, options);
  yield { type: "note", text: describeExamples(report, trainExamples.length, validationExamples.length) };

  const inputs = await hashInputs(model, [...data, ...(heldOut ?? [])]);
  const hashes = Object.fromEntries(Object.entries(inputs).map(([name, { sha256 }]) => [name, sha256]));
  const run = openRunDirectory(out, { ...shaping, until, inputs: hashes }, ranks);
  for (const text of run.notes) yield { type: "note", text };
  const packing = { rows: batchTokens, seed, padId: config.padTokenId };
  const batch = createPackedSampler(trainExamples, packing).next();
  const shape = tuningShape(model, options, batch, ranks);
  const plan = planTraining(shape);
  yield { type: "note", text: describePlan(plan) };
  checkTraining(plan);

  const tuned = openTuned(kernels, model, options);
  const { decoder, trained, trainableParameters } = tuned;
  yield { type: "note", text: describeTuned(tuned, options) };
  const optimizer = createOptimizer(kernels, decoder, trained, options.optimizer, { ranks, zeroGroup: zero });
  using tape = createTape(withPrecision(kernels, options.precision ?? "f32"), { recording: true });
  // Held-out data are sources of their own, so that the losses of both are told apart.
  const objective = mixedTokens(
    decoder,
    sourceNames([...data, ...(heldOut ?? [])]),
    (from) => createPackedSampler(trainExamples, packing, from as PackedState | undefined),
    options,
  );
  const validation = packedBatches(validationExamples, packing);
  const before = await validate({ tape, objective, ranks }, validation, 0);
  if (run.steps === undefined) {
    run.decideSteps(decideSteps());
    if (!("minutes" in until)) {
      yield { type: "note", text: describeSpeed(planTrainingSpeed(shape), run.steps!) };
    }
  }
  function decideSteps(): number {
    if ("steps" in until) return until.steps;
    if ("epochs" in until) {
      const { batches } = packingReport(trainExamples, packing);
      return Math.max(1, Math.ceil((until.epochs * batches) / accumulate));
    }
    const sampler = createPackedSampler(trainExamples, packing);
    const pass = (): void => {
      for (let i = ranks.rank; i < accumulate; i += ranks.size) {
        runBatch(tape, decoder, sampler.next(), 1 / batchTokens, options);
      }
      optimizer.exchange?.finish(tape);
    };
    return stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
  }
  const totalSteps = run.steps!;
  const result = yield* train({
    ...watchSettings(options),
    name: "finetune",
    tape,
    decoder,
    optimizer,
    ranks,
    schedule: scheduleOver(totalSteps, options.schedule),
    objective,
    accumulate,
    validation,
    validateEvery: options.validateEvery,
    workDirectory: run.path,
    snapshotEvery: options.snapshotEvery,
    flopsPerToken: flopsPerToken(config, meanLength(batch), { frozen: options.method === "lora" }),
    hooks: hooks?.(tuned, run.path) ?? [],
    ...(keepSaves > 0 && {
      onSave: async (step, reason) => {
        if (reason !== "end") await keepSave(tuned, options, places, step, keepSaves);
      },
    }),
    signal,
  });

  const figures = {
    trainableParameters,
    steps: result.steps,
    tokensPerSecond: result.tokensPerSecond,
    validationLossBefore: before.loss,
    validationLoss: result.validationLoss,
  };
  if (ranks.rank === 0) {
    const metrics = { ...figures, trainLoss: result.lastLoss };
    const record = { inputs, options: { ...shaping, until, steps: totalSteps }, metrics };
    await writeTuned(tuned, options, places, record, (directory) => copyRecords(run.path, directory));
  }
  ranks.meet();
  run.remove();
  return { ...figures, examples: examples.length, data: report, curve: result.curve };
}

/** The run as its plan sees it; without a batch one full of the longest pieces. */
export function tuningShape(
  model: string,
  options: FinetuneSettings,
  batch: Batch | undefined,
  ranks: Ranks,
): TrainingShape {
  const { method, base, lora, ema, ...settings } = options;
  const stored = readStoredModel(model);
  return {
    ...settings,
    config: stored.config,
    length: stored.config.maxPositions,
    averages: ema !== undefined,
    ...(method === "lora" && { lora }),
    ...(method === "lora" && base !== "float" && { frozen: base === "nf4" ? nf4Schemes(stored) : stored.stored }),
    ...(batch && { batch }),
    ranks,
  };
}

function describeExamples(report: ExampleReport, training: number, heldOut: number): string {
  const { dropped, cut, untrained, bad, tokens, trained } = report;
  const left = Object.entries({ "too long": dropped, "not learnt": untrained, bad }).filter(([, count]) => count > 0);
  const out = left.map(([why, count]) => `${count} ${why}`).join(", ");
  return (
    `${training} examples to train on, ${heldOut} held out; ${tokens} tokens, ${((100 * trained) / tokens).toFixed(0)}% of them learnt` +
    `${cut > 0 ? `; ${cut} cut` : ""}${out && `; left out: ${out}`}.`
  );
}

function split(
  examples: readonly Example[],
  { seed, validationShare }: Pick<FinetuneSettings, "seed" | "validationShare">,
): [train: Example[], validation: Example[]] {
  const order = randomPermutation(seed, 1, examples.length);
  const wanted = validationShare === 0 ? 0 : Math.max(1, Math.floor(validationShare * examples.length));
  const held = new Set(order.subarray(0, Math.min(wanted, mostHeldOut, examples.length - 1)));
  return [examples.filter((_, index) => !held.has(index)), examples.filter((_, index) => held.has(index))];
}
