// Pre-training: a fresh decoder on token shards, to a checkpoint directory.
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { checkArtifactPlace, hashInput, readManifest, writeArtifact } from "../formats/manifest.ts";
import { openTokens } from "../formats/token-shards.ts";
import { loadKernels, type Kernels } from "../kernels/index.ts";
import {
  countParameters,
  initializeDecoder,
  makeTrainable,
  namedTensors,
  replaceLinears,
  saveCheckpoint,
  type Decoder,
  type DecoderConfig,
} from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { createTape, type Tensor } from "../tensor/index.ts";
import { loadTokenizer } from "../tokenizer/index.ts";
import { createAdamW, createMuon, type Optimizer, type OptimizerOptions } from "./optimizer.ts";
import { ngramBaselines } from "./baselines.ts";
import { nextToken } from "./objective.ts";
import { openRunDirectory } from "./run-directory.ts";
import { createPretrainSampler, type DocumentSource, type WalkState } from "./sampler.ts";
import { scheduleOver, type ScheduleSettings } from "./schedule.ts";
import { writeTrainingState } from "./snapshot.ts";
import { meanLoss, runBatch } from "./step.ts";
import { stepsWithin } from "./steps-within.ts";
import { train, type MetricsRow } from "./trainer.ts";

/** What shapes a run besides its data and how long it goes on. */
export interface PretrainSettings {
  /** The shape of the model; what the tokenizer decides is filled in. */
  model: Pick<DecoderConfig, "family" | "hiddenSize" | "layers" | "heads" | "kvHeads" | "intermediateSize">;
  /** Longest piece of a document seen at once, in tokens; also the model's maximum positions. */
  length: number;
  /** Tokens a batch, and batches a step. */
  batchTokens: number;
  accumulate: number;
  schedule: ScheduleSettings;
  optimizer: OptimizerOptions & { kind: "adamw" | "muon" };
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
  /** A tokens directory. */
  tokens: string;
  /** The checkpoint directory to write. */
  out: string;
  /** How long to train: by steps, or by minutes from which the steps are reckoned once at the start. */
  until: { steps: number } | { minutes: number };
  /** Saves a snapshot and ends. */
  signal?: AbortSignal;
}

export interface PretrainResult {
  parameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Nats a token on the whole validation split, and of counting models trained on the same tokens. */
  validationLoss: number;
  unigramLoss: number;
  trigramLoss: number;
  curve: MetricsRow[];
}

/** Validation batches looked at while training; the whole split is measured at the end. */
const watchedBatches = 4;
/** Of `minutes`, what the steps may take; the rest is for baselines, validation and snapshots. */
const stepShare = 0.88;

export async function* pretrain(given: PretrainOptions): Job<PretrainResult> {
  const options = { signal: new AbortController().signal, ...pretrainDefaults, ...given };
  const kernels = loadKernels();
  checkArtifactPlace(options.out, "checkpoint");
  readManifest(options.tokens, "tokens");
  const tokenizer = loadTokenizer(options.tokens);
  const trainSplit = openTokens(options.tokens, "train");
  const validationSplit = openTokens(options.tokens, "validation");
  try {
    if (trainSplit.tokenizerId !== tokenizer.id || validationSplit.tokenizerId !== tokenizer.id) {
      throw new Failure(
        "input",
        `${options.tokens} was made with another tokenizer than the one that is in it now.`,
        "Make the directory again with `lianlu tokenize`.",
      );
    }
    if (trainSplit.tokens - trainSplit.documents < 1 || validationSplit.tokens - validationSplit.documents < 1) {
      throw new Failure(
        "input",
        `${options.tokens}: ${trainSplit.tokens} training and ${validationSplit.tokens} validation tokens are too few to train on.`,
        "Use a larger corpus, or a larger --validation-share in `lianlu tokenize`.",
      );
    }
    const config: DecoderConfig = {
      ...options.model,
      vocabSize: tokenizer.vocabSize,
      headDim: options.model.hiddenSize / options.model.heads,
      rmsNormEps: 1e-5,
      ropeTheta: 10000,
      maxPositions: options.length,
      tieEmbeddings: false,
      bosTokenId: tokenizer.bosId ?? tokenizer.eosId,
      eosTokenIds: [...tokenizer.stopIds],
      padTokenId: tokenizer.padId ?? tokenizer.eosId,
      initializerRange: 0.02,
    };
    checkShape(config);
    const parameters = countParameters(config);
    yield {
      type: "note",
      text: `${config.family}, ${(parameters / 1e6).toFixed(2)} M parameters; ${trainSplit.tokens} training tokens.`,
    };

    checkMemory(parameters);

    const { signal, out, until, ...shaping } = options;
    const tokensInput = await hashInput(options.tokens);
    const run = openRunDirectory(out, { ...shaping, until, tokens: tokensInput.sha256 });
    const decoder = initializeDecoder(kernels, config, options.seed);
    const trained = [...namedTensors(decoder).values()];
    makeTrainable(kernels, trained);
    const optimizer = makeOptimizer(kernels, decoder, trained, options.optimizer);
    using tape = createTape(kernels, { recording: true });

    const samplerOptions = {
      rows: options.batchTokens,
      length: options.length,
      seed: options.seed,
      padId: config.padTokenId,
    };
    const baselines = ngramBaselines(documentsOf(trainSplit), documentsOf(validationSplit), config.vocabSize);
    yield {
      type: "note",
      text: `Validation loss to beat, nats a token: unigram ${baselines.unigram.toFixed(3)}, trigram ${baselines.trigram.toFixed(3)}.`,
    };
    if (run.steps === undefined) {
      const sampler = createPretrainSampler(trainSplit, samplerOptions);
      const pass = (): void => {
        for (let i = 0; i < options.accumulate; i++) runBatch(tape, decoder, sampler.next(), 1 / options.batchTokens);
      };
      run.decideSteps(
        "steps" in until ? until.steps : stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass),
      );
    }
    const totalSteps = run.steps!;
    const validation = wholeSplit(validationSplit, samplerOptions);
    const result = yield* train({
      name: "pretrain",
      tape,
      decoder,
      optimizer,
      schedule: scheduleOver(totalSteps, options.schedule),
      objective: nextToken(decoder, (from) =>
        createPretrainSampler(trainSplit, samplerOptions, from as WalkState | undefined),
      ),
      accumulate: options.accumulate,
      validation: validation.slice(0, watchedBatches),
      validateEvery: options.validateEvery,
      workDirectory: run.path,
      snapshotEvery: options.snapshotEvery,
      signal,
    });
    const validationLoss = meanLoss(tape, decoder, validation);

    const artifact = {
      kind: "checkpoint",
      inputs: { tokens: tokensInput },
      options: { ...shaping, until, steps: totalSteps, config },
      seed: options.seed,
    };
    await writeArtifact(out, artifact, (directory) => {
      saveCheckpoint(directory, decoder, options.tokens);
      // Kept so that training can be taken up again, and compared.
      writeTrainingState(join(directory, "training-state.safetensors"), optimizer, {
        step: result.steps,
        sampler: result.sampler,
      });
      copyFileSync(join(run.path, "metrics.jsonl"), join(directory, "metrics.jsonl"));
      return Promise.resolve({
        parameters,
        steps: result.steps,
        trainLoss: result.lastLoss,
        validationLoss,
        unigramLoss: baselines.unigram,
        trigramLoss: baselines.trigram,
        tokensPerSecond: result.tokensPerSecond,
      });
    });
    run.remove();
    return {
      parameters,
      steps: result.steps,
      tokensPerSecond: result.tokensPerSecond,
      validationLoss,
      unigramLoss: baselines.unigram,
      trigramLoss: baselines.trigram,
      curve: result.curve,
    };
  } finally {
    trainSplit.close();
    validationSplit.close();
  }
}

function checkShape({ hiddenSize, heads, kvHeads, headDim }: DecoderConfig): void {
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new Failure(
      "usage",
      `--hidden ${hiddenSize} over --heads ${heads} gives ${headDim} numbers a head; an even integer is needed.`,
    );
  }
  if (heads % kvHeads !== 0) {
    throw new Failure("usage", `--heads ${heads} is not a multiple of --kv-heads ${kvHeads}.`);
  }
}

/** Weights, gradients and at least one moment of each are held as float32 all the time. */
function checkMemory(parameters: number): void {
  const needed = 3 * Float32Array.BYTES_PER_ELEMENT * parameters;
  const available = process.availableMemory();
  if (needed <= available) return;
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new Failure(
    "environment",
    `Training ${(parameters / 1e6).toFixed(0)} M parameters takes more than ${gibibytes(needed)} of memory; ${gibibytes(available)} are available.`,
    "Make the model smaller: --hidden, --layers, --intermediate.",
  );
}

/** Muon takes the matrices of the blocks; embedding, output layer and norms are AdamW's. */
function makeOptimizer(
  kernels: Kernels,
  decoder: Decoder,
  trained: readonly Tensor[],
  options: PretrainSettings["optimizer"],
): Optimizer {
  if (options.kind === "adamw") return createAdamW(kernels, trained, options);
  const matrices = new Set<Tensor>();
  replaceLinears(decoder, (layer) => {
    if (layer.weight) matrices.add(layer.weight);
    return layer;
  });
  return createMuon(kernels, trained, options, matrices);
}

function* documentsOf(source: DocumentSource): Generator<Uint16Array | Uint32Array> {
  for (let index = 0; index < source.documents; index++) yield source.document(index);
}

/** Every token of a split once, in batches; the last one is filled up from the start. */
function wholeSplit(
  source: DocumentSource & { tokens: number },
  options: { rows: number; length: number; seed: number; padId: number },
) {
  const sampler = createPretrainSampler(source, options);
  const batches = [];
  while (sampler.state.epoch === 0) batches.push(sampler.next());
  return batches;
}
