// Pre-training: a fresh decoder, or the weights of a checkpoint, on token shards, to a checkpoint directory.
import { copyFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { checkArtifactPlace, hashInput, writeArtifact, type ManifestInput } from "../formats/manifest.ts";
import type { TokenDocuments } from "../formats/token-shards.ts";
import { loadKernels, withPrecision, type Kernels, type Precision } from "../kernels/index.ts";
import { makeTrainable, namedTensors, saveCheckpoint, type Decoder } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { createTape } from "../tensor/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { countNgrams, type Baselines } from "./baselines.ts";
import { meanLength } from "./batch.ts";
import { flopsPerToken } from "./flops.ts";
import type { Hook } from "./hooks.ts";
import { createOptimizer, type OptimizerSettings } from "./optimizer.ts";
import { checkTraining, describePlan, describeSpeed, planTraining, planTrainingSpeed } from "./plan/plan.ts";
import type { TrainingShape } from "./plan/shape.ts";
import { onRanks } from "./parallel/ranks.ts";
import { checkBatches, type Ranks } from "./ranks.ts";
import { inRunDirectory, openRunDirectory } from "./run-directory.ts";
import { scheduleOver, type ScheduleSettings } from "./schedule.ts";
import { accumulateAt, batchesOf, lengthsOver, stepsOf, type LengthStage } from "./sources/lengths.ts";
import { createMixSampler, type MixOptions, type MixState } from "./sources/mix.ts";
import { mixedTokens } from "./sources/objective.ts";
import { openSources, trainingMix, type OpenSources, type SourceSettings } from "./sources/open.ts";
import { validateAll, watchedBatches } from "./sources/validation.ts";
import { checkpointModel, freshModel, type ModelShape } from "./starting-model.ts";
import { runBatch } from "./step.ts";
import { stepsWithin } from "./steps-within.ts";
import { train } from "./trainer.ts";
import { watchSettings, type WatchSettings } from "./trainer-options.ts";
import { copyRecords, type MetricsRow } from "./watch/meters.ts";

/** What shapes a run besides its data and how long it goes on. */
export interface PretrainSettings extends WatchSettings {
  /** The shape of a fresh model. */
  model: ModelShape;
  /** Longest piece of a document seen at once, in tokens; also a fresh model's maximum positions. */
  length: number;
  /** Shorter pieces for a beginning, none longer than `length`. Default: `length` all the time. */
  lengths?: readonly LengthStage[];
  /** Tokens a batch, and batches a step. */
  batchTokens: number;
  accumulate: number;
  /** Steps over which the batches of a step grow to `accumulate`. Default 0. */
  batchWarmupSteps?: number;
  /** The share of the layers whose activations are made again in the backward pass instead of being kept. Default 0. */
  checkpointing?: number;
  /** Of the products in the passes. Default "f32". */
  precision?: Precision;
  schedule: ScheduleSettings;
  optimizer: OptimizerSettings;
  /** Steps between looks at the validation split, and between snapshots. */
  validateEvery: number;
  snapshotEvery: number;
  seed: number;
}

export const pretrainDefaults: PretrainSettings = {
  model: { family: "internlm2", hiddenSize: 192, layers: 6, heads: 6, kvHeads: 2, intermediateSize: 512 },
  length: 1024,
  batchTokens: 1024,
  accumulate: 1,
  schedule: { kind: "cosine", peak: 4e-3, warmupShare: 0.02, finalShare: 0.1 },
  optimizer: { kind: "muon", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 },
  validateEvery: 50,
  snapshotEvery: 100,
  seed: 1,
};

export interface PretrainOptions extends Partial<PretrainSettings> {
  /** A tokens directory, or several sources. */
  tokens: string | readonly SourceSettings[];
  /** A checkpoint directory whose weights training goes on from; its shape takes the place of `model`. */
  from?: string;
  /** The checkpoint directory to write. */
  out: string;
  /**
   * How long to train: by steps, or by minutes from which the steps are reckoned once at the start; at most until the
   * epochs of all sources are used up. "epochs": until they are.
   */
  until: { steps: number } | { minutes: number } | "epochs";
  /** Of the ranks that train together, how many share one set of moments (ZeRO-1). Default 1: each has all. */
  zero?: number;
  /** Work between steps; see `TrainerOptions`. */
  hooks?(opened: OpenedTraining, directory: string): readonly Hook[];
  /** Saves a snapshot and ends. */
  signal?: AbortSignal;
}

/** What hooks are made from; beside it, a directory that outlives a crash and is gone after the end. */
export interface OpenedTraining {
  kernels: Kernels;
  decoder: Decoder;
  tokenizer: Tokenizer;
}

export interface PretrainResult {
  parameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Nats a token on the whole validation splits, the sources weighed as in training; and of counting models. */
  validationLoss: number;
  unigramLoss: number;
  trigramLoss: number;
  /** Of each source by name. */
  validationLosses: Record<string, number>;
  curve: readonly MetricsRow[];
}

/** Validation batches looked at while training; the whole splits are measured at the end. */
const watchedMost = 4;
/** Of `minutes`, what the steps may take; the rest is for baselines, validation and snapshots. */
const stepShare = 0.88;
/** Tokens that the counting models are fitted to, at most: they take up to 50 bytes each. */
const mostCountedTokens = 4_000_000;

/** Trains; under mpirun or srun on all ranks together, of which the first alone writes. */
export function pretrain(given: PretrainOptions): Job<PretrainResult> {
  return onRanks((ranks) => pretrainOn(ranks, given));
}

async function* pretrainOn(ranks: Ranks, given: PretrainOptions): Job<PretrainResult> {
  const options = { signal: new AbortController().signal, ...pretrainDefaults, ...given };
  const {
    signal,
    out,
    tokens,
    from,
    hooks,
    zero = 1,
    webhook: _webhook,
    tensorboard: _tensorboard,
    ...shaping
  } = options;
  const { until, accumulate, batchWarmupSteps = 0 } = options;
  const kernels = loadKernels();
  if (from !== undefined && resolve(from) === resolve(out)) {
    throw new Failure("usage", `--out ${out} is the place of the model itself.`, "Choose a directory of its own.");
  }
  checkArtifactPlace(out, "checkpoint");
  const settings = typeof tokens === "string" ? [{ name: "tokens", tokens }] : tokens;
  using sources = openSources(settings);
  const { list, tokenizer } = sources;
  checkLengths(options);
  checkBatches(accumulate, ranks);
  const { config, parameters, make } =
    from === undefined
      ? freshModel(options.model, tokenizer, options.length)
      : checkpointModel(from, tokenizer, options.length);
  const trainTokens = list.reduce((sum, { train: { tokens: count } }) => sum + count, 0);
  yield {
    type: "note",
    text: `${config.family}, ${(parameters / 1e6).toFixed(2)} M parameters; ${trainTokens} training tokens.`,
  };
  if (list.length > 1) yield { type: "note", text: describeMix(sources) };
  const mix = trainingMix(sources);
  const mixOptions: MixOptions = {
    rows: options.batchTokens,
    lengthAt: () => options.length,
    seed: options.seed,
    padId: config.padTokenId,
  };
  const batch = createMixSampler(mix, mixOptions).next();
  const shape: TrainingShape = { ...options, config, averages: options.ema !== undefined, batch, ranks, zero };
  const plan = planTraining(shape, { fresh: from === undefined, dataBytes: residentBytes(sources) });
  yield { type: "note", text: describePlan(plan) };
  checkTraining(plan);

  const inputs = await hashInputs(settings, from);
  const run = openRunDirectory(out, { ...shaping, ...inputHashes(inputs, settings) }, ranks);
  return yield* inRunDirectory(run, trainInPlace());

  async function* trainInPlace(): Job<PretrainResult> {
    for (const text of run.notes) yield { type: "note", text };
    const baselines = fitBaselines(sources, config.vocabSize);
    yield {
      type: "note",
      text: `Validation loss to beat, nats a token: unigram ${baselines.unigram.toFixed(3)}, trigram ${baselines.trigram.toFixed(3)}.`,
    };
    const decoder = make(kernels, options.seed);
    const trained = [...namedTensors(decoder).values()];
    makeTrainable(kernels, trained);
    const optimizer = createOptimizer(kernels, decoder, trained, options.optimizer, { ranks, zeroGroup: zero });
    using tape = createTape(withPrecision(kernels, options.precision ?? "f32"), { recording: true });

    const mostSteps = stepsInSources(sources, options);
    if (run.steps === undefined) {
      const sampler = createMixSampler(mix, mixOptions);
      const pass = (): void => {
        for (let i = ranks.rank; i < accumulate; i += ranks.size) {
          runBatch(tape, decoder, sampler.next(), 1 / options.batchTokens, options);
        }
        optimizer.exchange?.finish(tape);
      };
      const wanted =
        until === "epochs"
          ? mostSteps
          : "steps" in until
            ? until.steps
            : stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
      run.decideSteps(Math.min(wanted, mostSteps));
      if (!(typeof until === "object" && "minutes" in until)) {
        yield { type: "note", text: describeSpeed(planTrainingSpeed(shape), run.steps!) };
      }
      if (wanted > mostSteps) yield { type: "note", text: `The sources are used up after ${mostSteps} steps.` };
    }
    const totalSteps = run.steps!;
    const batches = batchesOf(totalSteps, accumulate, batchWarmupSteps);
    const stages = options.lengths ?? [{ length: options.length, share: 1 }];
    const lengthAt = lengthsOver(stages, batches);
    const names = list.map(({ name }) => name);
    const result = yield* train({
      ...watchSettings(options),
      name: "pretrain",
      tape,
      decoder,
      optimizer,
      ranks,
      schedule: scheduleOver(totalSteps, options.schedule),
      objective: mixedTokens(
        decoder,
        names,
        (state) => createMixSampler(mix, { ...mixOptions, lengthAt }, state as MixState | undefined),
        options,
      ),
      accumulate: (step) => accumulateAt(step, accumulate, batchWarmupSteps),
      validation: watchedBatches(list, mixOptions, watchedMost),
      validateEvery: options.validateEvery,
      workDirectory: run.path,
      snapshotEvery: options.snapshotEvery,
      flopsPerToken: flopsPerToken(config, meanLength(batch)),
      hooks: hooks?.({ kernels, decoder, tokenizer }, run.path) ?? [],
      signal,
    });
    const validation = validateAll(tape, decoder, list, mixOptions);

    const figures = {
      parameters,
      steps: result.steps,
      validationLoss: validation.total,
      unigramLoss: baselines.unigram,
      trigramLoss: baselines.trigram,
      tokensPerSecond: result.tokensPerSecond,
    };
    if (ranks.rank === 0) await write();
    ranks.meet();
    run.remove();
    return { ...figures, validationLosses: validation.bySource, curve: result.curve };

    async function write(): Promise<void> {
      const artifact = {
        kind: "checkpoint",
        inputs,
        options: { ...shaping, sources: settings, steps: totalSteps, config },
        seed: options.seed,
      };
      await writeArtifact(out, artifact, (directory) => {
        saveCheckpoint(directory, decoder, sources.tokenizerDirectory);
        // Kept so that training can be taken up again, and compared.
        copyFileSync(result.stateFile!, join(directory, "training-state.safetensors"));
        copyRecords(run.path, directory);
        const bySource = Object.fromEntries(
          names.map((name) => [`validationLoss/${name}`, validation.bySource[name]!]),
        );
        return Promise.resolve({
          ...figures,
          trainLoss: result.lastLoss,
          ...(names.length > 1 && bySource),
        });
      });
    }
  }
}

function checkLengths({ length, lengths, batchTokens }: PretrainSettings): void {
  const longest = Math.max(length, ...(lengths ?? []).map((stage) => stage.length));
  if (longest > length) {
    throw new Failure(
      "usage",
      `A stage has pieces of ${longest} tokens, and --length is ${length}.`,
      `Give --length ${longest}.`,
    );
  }
  const first = lengths?.[0]?.length;
  if (first !== undefined && first > batchTokens) {
    throw new Failure(
      "usage",
      `Pieces of ${first} tokens do not fit into batches of ${batchTokens}.`,
      `Give --batch-tokens ${length} or more.`,
    );
  }
}

function describeMix({ list }: OpenSources): string {
  const parts = list.map(({ name, share, mostRows, train: { tokens: count, documents } }) => {
    const epochs = mostRows / (count - documents);
    const until = Number.isFinite(epochs) ? `, ${Number(epochs.toFixed(2))} epochs` : "";
    return `${name} ${(100 * share).toFixed(1)}% (${count} tokens${until})`;
  });
  return `Sources: ${parts.join("; ")}.`;
}

/** The whole steps that the sources' epochs are enough for, at least one. Throws Failure("usage") where "epochs" has none. */
function stepsInSources({ list }: OpenSources, options: PretrainOptions & PretrainSettings): number {
  const rows = list.reduce((sum, { mostRows }) => sum + mostRows, 0);
  if (rows === Infinity) {
    if (options.until !== "epochs") return Infinity;
    throw new Failure(
      "usage",
      `It is not said how long to train: the source ${list.find(({ mostRows }) => mostRows === Infinity)!.name} has no epochs.`,
      "Give --steps, --minutes or --epochs.",
    );
  }
  const batches = Math.floor(rows / options.batchTokens);
  return Math.max(1, stepsOf(batches, options.accumulate, options.batchWarmupSteps ?? 0));
}

type Inputs = Record<string, ManifestInput>;

/** No source can be called so. */
const startingCheckpoint = "starting checkpoint";

async function hashInputs(settings: readonly SourceSettings[], from: string | undefined): Promise<Inputs> {
  const inputs: Inputs = {};
  for (const { name, tokens } of settings) inputs[name] = await hashInput(tokens);
  if (from !== undefined) inputs[startingCheckpoint] = await hashInput(from);
  return inputs;
}

/** What tells the run's inputs apart, wherever they lie. */
function inputHashes(inputs: Inputs, settings: readonly SourceSettings[]): Record<string, unknown> {
  return {
    sources: settings.map(({ name, weight, epochs }) => ({ name, weight, epochs, sha256: inputs[name]!.sha256 })),
    ...(inputs[startingCheckpoint] && { from: inputs[startingCheckpoint].sha256 }),
  };
}

/** Counting models of all sources together, scored on each and weighed by their shares. */
function fitBaselines({ list }: OpenSources, vocabSize: number): Baselines {
  function* counted() {
    for (const { share, train: documents } of list) yield* documentsOf(documents, share * mostCountedTokens);
  }
  using ngrams = countNgrams(counted(), vocabSize);
  const total: Baselines = { unigram: 0, trigram: 0 };
  for (const { share, validation } of list) {
    const { unigram, trigram } = ngrams.score(documentsOf(validation, share * mostCountedTokens));
    total.unigram += share * unigram;
    total.trigram += share * trigram;
  }
  return total;
}

function* documentsOf(source: TokenDocuments, mostTokens: number): Generator<Uint16Array | Uint32Array> {
  let left = mostTokens;
  for (let index = 0; index < source.documents && left > 0; index++) {
    const document = source.document(index);
    left -= document.length;
    yield document;
  }
}

/** Shards that are not read piece by piece are held as a whole. */
function residentBytes({ list }: OpenSources): number {
  return list.reduce(
    (sum, { train: { residentBytes: bytes }, validation }) => sum + bytes + validation.residentBytes,
    0,
  );
}
