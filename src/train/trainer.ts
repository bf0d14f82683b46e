// The loop that pre-training and fine-tuning share: steps, validation, snapshots, metrics, and going on after a stop.
import { existsSync, mkdirSync, readFileSync, writeFileSync, appendFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Job } from "../protocol/job.ts";
import { Failure } from "../protocol/errors.ts";
import { namedTensors, type Decoder } from "../model/index.ts";
import type { Tape, Tensor } from "../tensor/index.ts";
import type { Optimizer } from "./optimizer.ts";
import type { Batch } from "./batch.ts";
import { meanLossOf, type Objective } from "./objective.ts";
import { alone, type Ranks } from "./ranks.ts";
import type { Sampler, SamplerState } from "./sampler.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import { loadSnapshot, saveSnapshot, snapshotDirectory, type SnapshotState } from "./snapshot.ts";

export interface TrainerOptions<B = Batch> {
  /** The name of the progress bar. */
  name: string;
  tape: Tape;
  decoder: Decoder;
  optimizer: Optimizer;
  schedule: Schedule;
  objective: Objective<B>;
  /** Batches whose gradients make one step, of all ranks together. */
  accumulate: number;
  /** Default: this process alone. */
  ranks?: Ranks;
  validation: readonly B[];
  /** Steps between validations; the last step is always validated. */
  validateEvery: number;
  /** Where snapshots and metrics live while training runs; it outlives a crash. */
  workDirectory: string;
  /** Steps between snapshots. */
  snapshotEvery: number;
  signal: AbortSignal;
}

export interface TrainingResult {
  steps: number;
  sampler: SamplerState;
  /** Mean losses in nats a token. */
  firstLoss: number;
  lastLoss: number;
  validationLoss: number;
  /** Tokens trained a second, over the steps of this run. */
  tokensPerSecond: number;
  /** One entry a step, also in metrics.jsonl. */
  curve: MetricsRow[];
}

export interface MetricsRow {
  step: number;
  loss: number;
  learningRate: number;
  gradientNorm: number;
  validationLoss?: number;
}

const metricsFile = "metrics.jsonl";
const tryThis = "Lower the learning rate, lengthen the warm-up, or look at the data of this step.";

/** Trains to the schedule's last step, from the newest snapshot where there is one. */
export async function* train<B>(options: TrainerOptions<B>): Job<TrainingResult> {
  const { name, tape, optimizer, schedule, objective, workDirectory, signal } = options;
  mkdirSync(workDirectory, { recursive: true });
  const snapshots = snapshotDirectory(workDirectory);
  const found = await loadSnapshot(snapshots, optimizer);
  const sampler = objective.sampler(found?.sampler);
  const curve = resumeMetrics(join(workDirectory, metricsFile), found?.step ?? 0);
  const state: SnapshotState = { step: found?.step ?? 0, sampler: sampler.state };
  if (found) yield { type: "note", text: `Going on from step ${found.step} of ${schedule.totalSteps}.` };

  let savedStep = found?.step;
  /** Adds to a breakdown of the numbers what is left of the run. */
  const guarded = <Result>(work: () => Result): Result => {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== "numeric") throw error;
      const kept =
        savedStep === undefined
          ? "No snapshot had been made yet."
          : `The snapshot of step ${savedStep} is kept in ${snapshots}.`;
      throw new Failure("numeric", error.message, `${kept} ${error.hint ?? ""}`.trim(), { cause: error });
    }
  };
  const save = async () => {
    // A snapshot or a result of broken weights would take the place of good ones.
    guarded(() => refuseBrokenWeights(optimizer, state.step));
    await saveSnapshot(snapshots, optimizer, state);
    savedStep = state.step;
  };
  const started = performance.now();
  const firstStep = state.step;
  let tokens = 0;
  while (state.step < schedule.totalSteps) {
    if (signal.aborted) {
      await save();
      yield { type: "note", text: `Step ${state.step} is saved; the same command goes on from there.` };
      throw signal.reason;
    }
    const row = guarded(() => trainStep(options, sampler, state.step));
    tokens += row.tokens;
    state.step++;
    const last = state.step === schedule.totalSteps;
    const metrics: MetricsRow = row.metrics;
    if (options.validation.length > 0 && (last || state.step % options.validateEvery === 0)) {
      metrics.validationLoss = meanLossOf(tape, objective, options.validation);
    }
    curve.push(metrics);
    appendFileSync(join(workDirectory, metricsFile), `${JSON.stringify(metrics)}\n`);
    const seconds = (performance.now() - started) / 1000;
    yield {
      type: "progress",
      step: name,
      done: state.step,
      total: schedule.totalSteps,
      unit: "steps",
      metrics: {
        loss: metrics.loss,
        ...(metrics.validationLoss === undefined ? {} : { validationLoss: metrics.validationLoss }),
        learningRate: metrics.learningRate,
        tokensPerSecond: tokens / seconds,
      },
    };
    if (last || state.step % options.snapshotEvery === 0) await save();
    // The loop is synchronous but for this: lets messages and signals in.
    await nextTurn();
  }
  return {
    steps: state.step,
    sampler: sampler.state,
    firstLoss: curve[0]?.loss ?? Number.NaN,
    lastLoss: curve.at(-1)?.loss ?? Number.NaN,
    validationLoss: curve.findLast((entry) => entry.validationLoss !== undefined)?.validationLoss ?? Number.NaN,
    tokensPerSecond: firstStep === state.step ? 0 : tokens / ((performance.now() - started) / 1000),
    curve,
  };
}

/**
 * One optimizer step over `accumulate` batches; the loss is averaged over all their weight. Rank r runs those whose
 * number, counted from the start of the run, leaves r: so the data of a step do not depend on how many ranks there are.
 */
function trainStep<B>(
  options: TrainerOptions<B>,
  sampler: Sampler<B>,
  step: number,
): { tokens: number; metrics: MetricsRow } {
  const { tape, decoder, optimizer, schedule, objective, ranks = alone } = options;
  const batches = Array.from({ length: options.accumulate }, () => sampler.next());
  const weight = batches.reduce((sum, batch) => sum + objective.weight(batch), 0);
  let sum = 0;
  for (const [index, batch] of batches.entries()) {
    if (index % ranks.size !== ranks.rank) continue;
    tape.pass.randomKey = step * options.accumulate + index;
    sum += objective.run(tape, batch, 1 / weight).loss;
  }
  tape.pass.randomKey = undefined;
  const loss = sum / weight;
  if (!Number.isFinite(loss)) {
    const broken = findBroken([...optimizer.parameters, ...namedTensors(decoder).values()]);
    throw new Failure(
      "numeric",
      `Step ${step + 1}: the loss is ${loss}; ${broken ? `${broken.name} holds a number that is not finite` : "all weights are still finite"}.`,
      tryThis,
    );
  }
  const learningRate = learningRateAt(step, schedule);
  const gradientNorm = optimizer.step(step + 1, learningRate);
  return {
    tokens: batches.reduce((count, batch) => count + objective.tokens(batch), 0),
    metrics: { step: step + 1, loss, learningRate, gradientNorm },
  };
}

function refuseBrokenWeights(optimizer: Optimizer, step: number): void {
  const broken = findBroken(optimizer.parameters);
  if (broken === undefined) return;
  throw new Failure(
    "numeric",
    `Step ${step}: its update made ${broken.name} hold a number that is not finite.`,
    tryThis,
  );
}

function findBroken(tensors: readonly Tensor[]): Tensor | undefined {
  return tensors.find(({ data }) => data.some((value) => !Number.isFinite(value)));
}

/** Reads the rows up to a step and cuts off those after it, which will be made again. */
function resumeMetrics(path: string, step: number): MetricsRow[] {
  if (!existsSync(path)) return [];
  const rows: MetricsRow[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    try {
      const row = JSON.parse(line) as MetricsRow;
      if (row.step <= step) rows.push(row);
    } catch {
      // A line cut off by a crash.
    }
  }
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return rows;
}
