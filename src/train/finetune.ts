// Fine-tuning on dialogues, texts and tokens: adapters beside frozen weights, or the weights themselves.
import { loadKernels, withPrecision, type Precision } from "../kernels/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { createTape, randomPermutation } from "../tensor/index.ts";
import { readExamples, type DataSource, type ExampleOptions, type ExampleReport } from "./data/index.ts";
import { flopsPerToken } from "./flops.ts";
import type { Hook } from "./hooks.ts";
import { nextToken } from "./objective.ts";
import { createOptimizer, type OptimizerSettings } from "./optimizer.ts";
import { openRanks } from "./parallel/ranks.ts";
import { validate } from "./passes.ts";
import { openRunDirectory } from "./run-directory.ts";
import { createExampleSampler, type Example, type WalkState } from "./sampler.ts";
import { scheduleOver, type ScheduleSettings } from "./schedule.ts";
import { runBatch } from "./step.ts";
import { stepsWithin } from "./steps-within.ts";
import { train } from "./trainer.ts";
import type { WatchSettings } from "./trainer-options.ts";
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

export async function* finetune(given: FinetuneOptions): Job<FinetuneResult> {
  const { schedule } = finetuneDefaults;
  const usual = { ...schedule, peak: usualRates[given.method ?? finetuneDefaults.method] };
  const options = { signal: new AbortController().signal, ...finetuneDefaults, schedule: usual, ...given };
  const { model, data, out, merged, validation: heldOut, until, hooks, signal, keepSaves = 0, ...shaping } = options;
  const places = { model, out, ...(merged !== undefined && { merged }) };
  checkTuningPlaces(places, options);
  const ranks = openRanks();
  const kernels = withPrecision(loadKernels(), options.precision ?? "f32");
  const tuned = openTuned(kernels, model, options);
  const { decoder, tokenizer, trained, trainableParameters } = tuned;
  const { config } = decoder;
  const longest = Math.min(options.batchTokens, config.maxPositions, options.examples.maxLength ?? Infinity);
  const exampleOptions = { ...options.examples, maxLength: longest, seed: options.seed, signal };
  const { examples, report } = yield* readExamples(tokenizer, data, exampleOptions);
  const held = heldOut && (yield* readExamples(tokenizer, heldOut, exampleOptions)).examples;
  const [trainExamples, validationExamples] = held ? [examples, held] : split(examples, options);
  if (trainExamples.length === 0) throw nothingToLearn(data, longest, config.maxPositions);
  yield { type: "note", text: describeTuned(tuned, options) };
  yield { type: "note", text: `${trainExamples.length} examples to train on, ${validationExamples.length} held out.` };

  const inputs = await hashInputs(model, [...data, ...(heldOut ?? [])]);
  const run = openRunDirectory(out, {
    ...shaping,
    until,
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, { sha256 }]) => [name, sha256])),
  });
  for (const text of run.notes) yield { type: "note", text };
  const optimizer = createOptimizer(kernels, decoder, trained, options.optimizer, {
    ranks,
    ...(options.zero !== undefined && { zeroGroup: options.zero }),
  });
  using tape = createTape(kernels, { recording: true });
  const samplerOptions = { rows: options.batchTokens, seed: options.seed, padId: config.padTokenId };
  const objective = nextToken(
    decoder,
    (from) => createExampleSampler(trainExamples, samplerOptions, from as WalkState | undefined),
    options,
  );
  const validation = batchesOf(validationExamples, samplerOptions);
  const before = await validate({ tape, objective, ranks }, validation, 0);
  if (run.steps === undefined) run.decideSteps(ranks.agree(decideSteps()));
  function decideSteps(): number {
    if ("steps" in until) return until.steps;
    const sampler = createExampleSampler(trainExamples, samplerOptions);
    if ("epochs" in until) {
      let batches = 0;
      for (; sampler.state.epoch < until.epochs; batches++) sampler.next();
      return Math.ceil(batches / options.accumulate);
    }
    const pass = (): void => {
      for (let i = 0; i < options.accumulate; i++) {
        runBatch(tape, decoder, sampler.next(), 1 / options.batchTokens, options);
      }
    };
    return stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
  }
  const totalSteps = run.steps!;
  const result = yield* train({
    ...options,
    name: "finetune",
    tape,
    decoder,
    optimizer,
    schedule: scheduleOver(totalSteps, options.schedule),
    objective,
    ranks,
    validation,
    workDirectory: run.path,
    flopsPerToken: flopsPerToken(config, longest, { frozen: options.method === "lora" }),
    hooks: hooks?.(tuned, run.path) ?? [],
    onSave: (step, reason) => {
      if (reason !== "end" && keepSaves > 0) keepSave(tuned, options, places, step, keepSaves);
    },
    signal,
  });

  const metrics = {
    steps: result.steps,
    trainableParameters,
    trainLoss: result.lastLoss,
    validationLossBefore: before.loss,
    validationLoss: result.validationLoss,
    tokensPerSecond: result.tokensPerSecond,
  };
  if (ranks.rank === 0) {
    const record = { inputs, options: { ...shaping, until, steps: totalSteps }, metrics };
    await writeTuned(tuned, options, places, record, (directory) => copyRecords(run.path, directory));
    run.remove();
  }
  ranks.meet();
  return {
    examples: examples.length,
    data: report,
    trainableParameters,
    steps: result.steps,
    tokensPerSecond: result.tokensPerSecond,
    validationLossBefore: before.loss,
    validationLoss: result.validationLoss,
    curve: result.curve,
  };
}

function nothingToLearn(data: readonly DataSource[], longest: number, positions: number): Failure {
  return new Failure(
    "input",
    `${data.map(({ path }) => path).join(", ")}: no example of at most ${longest} tokens is left to train on.`,
    longest < positions
      ? "Raise --batch-tokens, shorten the examples, or cut them with --too-long."
      : "The model was made for no more: shorten the examples, or cut them with --too-long.",
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

/** Every example once, in batches. */
function batchesOf(examples: readonly Example[], options: { rows: number; seed: number; padId: number }) {
  if (examples.length === 0) return [];
  const sampler = createExampleSampler(examples, options);
  const batches = [];
  while (sampler.state.epoch === 0) batches.push(sampler.next());
  return batches;
}
