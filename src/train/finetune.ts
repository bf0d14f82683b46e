// Fine-tuning by LoRA on dialogues: an adapter directory, and where it is asked for a merged checkpoint.
import { copyFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { checkArtifactPlace, hashInput, writeArtifact } from "../formats/manifest.ts";
import { loadKernels } from "../kernels/index.ts";
import {
  adapterTensors,
  addLora,
  loadCheckpoint,
  makeTrainable,
  mergeLora,
  saveAdapter,
  saveCheckpoint,
  type LoraOptions,
} from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { createTape, randomPermutation } from "../tensor/index.ts";
import { copyTokenizer, loadTokenizer } from "../tokenizer/index.ts";
import { createAdamW, type OptimizerOptions } from "./optimizer.ts";
import { encodeDialogue, readDialogues } from "./dialogues.ts";
import { nextToken } from "./objective.ts";
import { openRunDirectory } from "./run-directory.ts";
import { createExampleSampler, type Example, type WalkState } from "./sampler.ts";
import { scheduleOver, type ScheduleSettings } from "./schedule.ts";
import { meanLoss, runBatch } from "./step.ts";
import { stepsWithin } from "./steps-within.ts";
import { train } from "./trainer.ts";
import type { MetricsRow } from "./watch/meters.ts";

/** What shapes a run besides its model, its data and how long it goes on. */
export interface FinetuneSettings {
  lora: LoraOptions;
  /** Tokens a batch; dialogues are packed into it whole. */
  batchTokens: number;
  schedule: ScheduleSettings;
  optimizer: OptimizerOptions;
  /** Steps between looks at the held-out dialogues, and between snapshots. */
  validateEvery: number;
  snapshotEvery: number;
  seed: number;
}

export const finetuneDefaults: FinetuneSettings = {
  lora: { rank: 16, alpha: 32, targets: "all-linear" },
  batchTokens: 2048,
  schedule: { kind: "cosine", peak: 2e-3, warmupShare: 0.03, finalShare: 0 },
  optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 },
  validateEvery: 50,
  snapshotEvery: 100,
  seed: 1,
};

export interface FinetuneOptions extends Partial<FinetuneSettings> {
  /** The checkpoint directory to start from. */
  model: string;
  /** JSON lines of dialogues. */
  data: string;
  /** The adapter directory to write. */
  out: string;
  /** A checkpoint directory to write with the adapter merged into the weights. */
  merged?: string;
  until: { steps: number } | { minutes: number } | { epochs: number };
  /** Saves a snapshot and ends. */
  signal?: AbortSignal;
}

export interface FinetuneResult {
  examples: number;
  /** Examples left out because they are longer than a batch or than the model's positions. */
  tooLong: number;
  trainableParameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Nats a trained token on dialogues that were held out, before and after. */
  validationLossBefore: number;
  validationLoss: number;
  curve: readonly MetricsRow[];
}

/** Dialogues held out for validation, and at most how many. */
const validationShare = 0.05;
const maxValidationExamples = 200;
const stepShare = 0.85;

export async function* finetune(given: FinetuneOptions): Job<FinetuneResult> {
  const options = { signal: new AbortController().signal, ...finetuneDefaults, ...given };
  const kernels = loadKernels();
  checkPlaces(options);
  const decoder = loadCheckpoint(options.model, kernels);
  const { config } = decoder;
  if (!decoder.head.weight) {
    throw new Failure(
      "usage",
      `${options.model} is quantized, and only float weights are fine-tuned.`,
      "Give the checkpoint that it was made from.",
    );
  }
  const tokenizer = loadTokenizer(options.model);
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new Failure(
      "input",
      `${options.model}: the tokenizer has ${tokenizer.vocabSize} tokens and the model ${config.vocabSize}.`,
      "The tokenizer belongs to another model.",
    );
  }
  const longest = Math.min(options.batchTokens, config.maxPositions);
  const all = (await readDialogues(options.data)).map((messages) => encodeDialogue(tokenizer, messages));
  const examples = all.filter(({ tokens }) => tokens.length <= longest);
  const tooLong = all.length - examples.length;
  if (tooLong > 0)
    yield {
      type: "note",
      text: `${tooLong} of ${all.length} dialogues are longer than ${longest} tokens and left out.`,
    };
  const [trainExamples, validationExamples] = split(examples, options.seed);
  if (trainExamples.length === 0) {
    throw new Failure(
      "input",
      `${options.data}: no dialogue of at most ${longest} tokens is left to train on.`,
      longest < config.maxPositions
        ? "Raise --batch-tokens or shorten the dialogues."
        : "The model was made for no more: shorten the dialogues, or pretrain with a larger --length.",
    );
  }

  const { signal, out, merged, until, ...shaping } = options;
  const inputs = { model: await hashInput(options.model), data: await hashInput(options.data) };
  const pairs = addLora(kernels, decoder, options.lora, options.seed);
  const run = openRunDirectory(out, { ...shaping, until, inputs: [inputs.model.sha256, inputs.data.sha256] });
  const trained = adapterTensors(pairs);
  makeTrainable(kernels, trained);
  const optimizer = createAdamW(kernels, trained, options.optimizer);
  const trainableParameters = trained.reduce((count, { data }) => count + data.length, 0);
  using tape = createTape(kernels, { recording: true });

  const samplerOptions = { rows: options.batchTokens, seed: options.seed, padId: config.padTokenId };
  const validation = allExamples(validationExamples, samplerOptions);
  const validationLossBefore = validation.length > 0 ? meanLoss(tape, decoder, validation) : Number.NaN;
  yield {
    type: "note",
    text: `LoRA of rank ${options.lora.rank} on ${pairs.length} layers: ${(trainableParameters / 1e6).toFixed(2)} M trained parameters; ${trainExamples.length} dialogues.`,
  };
  if (run.steps === undefined) run.decideSteps(decideSteps());
  function decideSteps(): number {
    if ("steps" in until) return until.steps;
    const sampler = createExampleSampler(trainExamples, samplerOptions);
    if ("epochs" in until) {
      let batches = 0;
      for (; sampler.state.epoch < until.epochs; batches++) sampler.next();
      return batches;
    }
    const pass = (): void => void runBatch(tape, decoder, sampler.next(), 1 / options.batchTokens);
    return stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
  }
  const totalSteps = run.steps!;
  const result = yield* train({
    name: "finetune",
    tape,
    decoder,
    optimizer,
    schedule: scheduleOver(totalSteps, options.schedule),
    objective: nextToken(decoder, (from) =>
      createExampleSampler(trainExamples, samplerOptions, from as WalkState | undefined),
    ),
    accumulate: 1,
    validation,
    validateEvery: options.validateEvery,
    workDirectory: run.path,
    snapshotEvery: options.snapshotEvery,
    signal,
  });

  const metrics = {
    steps: result.steps,
    trainableParameters,
    trainLoss: result.lastLoss,
    validationLossBefore,
    validationLoss: result.validationLoss,
    tokensPerSecond: result.tokensPerSecond,
  };
  const artifact = { inputs, options: { ...shaping, until, steps: totalSteps }, seed: options.seed };
  await writeArtifact(out, { kind: "adapter", ...artifact }, (directory) => {
    saveAdapter(directory, pairs, options.lora, options.model);
    copyTokenizer(options.model, directory);
    copyFileSync(join(run.path, "metrics.jsonl"), join(directory, "metrics.jsonl"));
    return Promise.resolve(metrics);
  });
  if (merged !== undefined) {
    mergeLora(kernels, decoder, pairs);
    await writeArtifact(merged, { kind: "checkpoint", ...artifact }, (directory) => {
      saveCheckpoint(directory, decoder, options.model);
      return Promise.resolve(metrics);
    });
  }
  run.remove();
  return {
    examples: examples.length,
    tooLong,
    trainableParameters,
    steps: result.steps,
    tokensPerSecond: result.tokensPerSecond,
    validationLossBefore,
    validationLoss: result.validationLoss,
    curve: result.curve,
  };
}

function checkPlaces({ model, out, merged }: FinetuneOptions): void {
  checkArtifactPlace(out, "adapter");
  if (merged === undefined) return;
  checkArtifactPlace(merged, "checkpoint");
  if ([out, model].some((path) => resolve(path) === resolve(merged))) {
    throw new Failure(
      "usage",
      `--merged ${merged} is the place of the adapter or of the model itself.`,
      "Choose a directory of its own.",
    );
  }
}

function split(examples: readonly Example[], seed: number): [train: Example[], validation: Example[]] {
  const order = randomPermutation(seed, 1, examples.length);
  const wanted = Math.max(1, Math.floor(validationShare * examples.length));
  const held = new Set(order.subarray(0, Math.min(wanted, maxValidationExamples, examples.length - 1)));
  return [examples.filter((_, index) => !held.has(index)), examples.filter((_, index) => held.has(index))];
}

/** Every example once, in batches. */
function allExamples(examples: readonly Example[], options: { rows: number; seed: number; padId: number }) {
  if (examples.length === 0) return [];
  const sampler = createExampleSampler(examples, options);
  const batches = [];
  while (sampler.state.epoch === 0) batches.push(sampler.next());
  return batches;
}
