// What a run of training will take of memory and how long a step will take, before it starts; and which change would make
// it fit where it does not.
import { loadKernels, machine } from "../../kernels/index.ts";
import { countParameters } from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { createReplay } from "./replay.ts";
import { nf4Schemes } from "./stored.ts";
import { runShadow, type ShadowRun, type TrainingShape } from "./shape.ts";

/** Bytes, by what they are for. */
export interface TrainingMemory {
  weights: number;
  gradients: number;
  /** What the optimizer remembers, and what it works in. */
  moments: number;
  averages: number;
  /** Activations and their gradients, at their most. */
  activations: number;
  /** The copy that a snapshot is written from while training goes on. */
  snapshot: number;
  /** Data that is held, as the caller says. */
  data: number;
  /** The runtime and what it holds besides. */
  process: number;
  total: number;
}

export interface TrainingPlan {
  parameters: number;
  trainedParameters: number;
  memory: TrainingMemory;
  /** What this process can have in all. */
  availableBytes: number;
  /** Why it does not fit, and what would make it; undefined where it fits. */
  refusal: { message: string; hint: string; ways: PlannedWay[] } | undefined;
}

/** A change to a run that takes more memory than there is. */
export interface PlannedWay {
  /** As options are written, for example "--checkpointing 1". */
  change: string;
  bytes: number;
  fits: boolean;
}

export interface TrainingPlanOptions {
  /** Bytes that may be used in all. Default: what this process has and what the system has available. */
  memoryBytes?: number;
  /** Bytes of data that are held while training. Default 0. */
  dataBytes?: number;
  /** The model is made afresh, so that it may have fewer layers, and adapters make no sense. Default false. */
  fresh?: boolean;
  /** The weights beside adapters are in 4 bits already, or less. Default false. */
  fourBits?: boolean;
}

export interface TrainingSpeed {
  threads: number;
  /** A whole step: its passes, and the update. */
  stepSeconds: number;
  tokensPerSecond: number;
  /** A batch of validation. */
  validationSeconds: number;
}

/**
 * What a process that trains comes to besides: the runtime and its heap, compiled code, the threads of the run and of its
 * snapshots, the kernels' scratch. As measured, whichever process plans; one that holds more already grows by less.
 */
const processBytes = 224 * 2 ** 20;
const growthBytes = 32 * 2 ** 20;
/** A snapshot is copied only where the copy is no more than this share of the memory that is free then. */
const mostOfMemoryForCopy = 0.25;
const smallestBatch = 64;

/** The memory of a run, in milliseconds and without taking it. */
export function planTraining(shape: TrainingShape, options: TrainingPlanOptions = {}): TrainingPlan {
  const run = runShadow(loadKernels(), shape);
  const availableBytes = options.memoryBytes ?? process.memoryUsage.rss() + process.availableMemory();
  const memory = memoryOf(run, availableBytes, options);
  const plan: TrainingPlan = {
    parameters: countParameters(shape.config),
    trainedParameters: run.trainedParameters,
    memory,
    availableBytes,
    refusal: undefined,
  };
  if (memory.total <= availableBytes) return plan;
  const ways = waysToFit(shape, availableBytes, options);
  return { ...plan, refusal: { ...describeRefusal(memory, availableBytes, ways), ways } };
}

/** Throws the refusal of a plan as Failure("environment"). */
export function checkTraining({ refusal }: TrainingPlan): void {
  if (refusal) throw new Failure("environment", refusal.message, refusal.hint);
}

/** How long steps take on this machine now: every kernel that a step calls is timed, in about a second for small models. */
export function planTrainingSpeed(shape: TrainingShape): TrainingSpeed {
  const { shadow, pass, update, validation } = runShadow(loadKernels(), shape);
  using replay = createReplay(shadow);
  // Ranks share the batches of a step.
  const passes = Math.ceil(shape.accumulate / (shape.ranks?.size ?? 1));
  const stepSeconds = (passes * replay.milliseconds(pass) + replay.milliseconds(update)) / 1000;
  return {
    threads: machine().threads,
    stepSeconds,
    tokensPerSecond: (shape.accumulate * shape.batchTokens) / stepSeconds,
    validationSeconds: replay.milliseconds(validation) / 1000,
  };
}

function memoryOf(run: ShadowRun, availableBytes: number, { dataBytes = 0 }: TrainingPlanOptions): TrainingMemory {
  const { weights, gradients, moments, averages, activations } = run;
  const base = Math.max(processBytes, process.memoryUsage.rss() + growthBytes);
  const total = base + dataBytes + weights + gradients + moments + averages + activations;
  const copy = run.state <= mostOfMemoryForCopy * (availableBytes - total) ? run.state : 0;
  return {
    weights,
    gradients,
    moments,
    averages,
    activations,
    snapshot: copy,
    data: dataBytes,
    process: base,
    total: total + copy,
  };
}

/** Changes in the order in which they cost the least, each by itself; the last of them takes all that keep the model. */
function waysToFit(shape: TrainingShape, availableBytes: number, options: TrainingPlanOptions): PlannedWay[] {
  // A batch that was given has its own length; other lengths are planned with a full one.
  const { batch: _batch, ...full } = shape;
  const totalOf = (changes: Partial<TrainingShape>): number => {
    const base = changes.batchTokens === undefined ? shape : full;
    return memoryOf(runShadow(loadKernels(), { ...base, ...changes }), availableBytes, options).total;
  };
  const ways: PlannedWay[] = [];
  const consider = (change: string, changes: Partial<TrainingShape>): boolean => {
    const bytes = totalOf(changes);
    ways.push({ change, bytes, fits: bytes <= availableBytes });
    return bytes <= availableBytes;
  };
  const remade: Partial<TrainingShape> = { checkpointing: 1 };
  if ((shape.checkpointing ?? 0) < 1) consider("--checkpointing 1", remade);
  let batchTokens = shape.batchTokens;
  while (batchTokens >= 2 * smallestBatch) {
    batchTokens = Math.floor(batchTokens / 2);
    const smaller = { batchTokens, length: Math.min(shape.length, batchTokens) };
    if (totalOf(smaller) > availableBytes && batchTokens >= 2 * smallestBatch) continue;
    consider(`--batch-tokens ${batchTokens}`, smaller);
    if ((shape.checkpointing ?? 0) < 1) {
      consider(`--batch-tokens ${batchTokens} --checkpointing 1`, { ...smaller, ...remade });
    }
    break;
  }
  if (shape.optimizer.kind === "adamw" && !shape.lora) {
    consider("--optimizer muon", { optimizer: { ...shape.optimizer, kind: "muon" } });
  }
  const halves = { config: shape.config, stored: () => "bf16" as const };
  const lora = shape.lora ?? { rank: 16, alpha: 32, targets: "all-linear" as const };
  const adamw = { ...shape.optimizer, kind: "adamw" as const };
  if (!options.fresh && !shape.lora) consider("LoRA of rank 16", { lora, optimizer: adamw });
  if (!options.fresh && !options.fourBits) {
    consider("LoRA on a base of nf4", { lora, optimizer: adamw, frozen: nf4Schemes(halves), ...remade });
  }
  if (options.fresh) {
    const layers = mostLayers(shape, availableBytes, totalOf);
    if (layers >= 1) consider(`--layers ${layers}`, { config: { ...shape.config, layers } });
  }
  return ways;
}

/** The most layers that fit, fewer than there are; 0 where not even one does. Each takes as much as the one before. */
function mostLayers(
  { config }: TrainingShape,
  availableBytes: number,
  totalOf: (changes: Partial<TrainingShape>) => number,
): number {
  const [one, two] = [1, 2].map((layers) => totalOf({ config: { ...config, layers } })) as [number, number];
  const fitting = one > availableBytes ? 0 : 1 + Math.floor((availableBytes - one) / (two - one));
  return Math.min(fitting, config.layers - 1);
}

function describeRefusal(
  memory: TrainingMemory,
  availableBytes: number,
  ways: readonly PlannedWay[],
): { message: string; hint: string } {
  const said = (way: PlannedWay): string => `${way.change}: ${formatGibibytes(way.bytes)}`;
  const fitting = ways.filter(({ fits }) => fits);
  const others = ways.filter(({ fits }) => !fits);
  return {
    message: `Training takes ${formatGibibytes(memory.total)} of memory (${listParts(memory)}); ${formatGibibytes(availableBytes)} can be had.`,
    hint:
      fitting.length > 0
        ? `What would fit: ${fitting.map(said).join("; ")}.`
        : `Not enough by itself: ${others.map(said).join("; ")}. Take a smaller model.`,
  };
}

/** A plan's memory in a sentence. */
export function describePlan({ memory, availableBytes }: TrainingPlan): string {
  return `Memory expected: ${formatGibibytes(memory.total)} (${listParts(memory)}) of ${formatGibibytes(availableBytes)}.`;
}

/** A run's time in a sentence. */
export function describeSpeed({ stepSeconds, tokensPerSecond, threads }: TrainingSpeed, steps: number): string {
  const minutes = (steps * stepSeconds) / 60;
  const whole = minutes < 1 ? `${(60 * minutes).toFixed(0)} s` : `${minutes.toFixed(minutes < 10 ? 1 : 0)} minutes`;
  return `Time expected: ${(1000 * stepSeconds).toPrecision(3)} ms a step on ${threads} threads, ${Math.round(tokensPerSecond)} tokens/s; ${steps} steps take ${whole}.`;
}

function listParts({ weights, gradients, moments, averages, activations, snapshot }: TrainingMemory): string {
  return Object.entries({ weights, gradients, moments, averages, activations, snapshot })
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${formatGibibytes(bytes)}`)
    .join(", ");
}

/** "1.25 GiB", or "312 MiB" below one, or "18 KiB". */
export function formatGibibytes(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / 2 ** 10).toFixed(0)} KiB`;
}
