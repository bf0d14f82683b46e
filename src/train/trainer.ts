// The loop that pre-training, fine-tuning and preferences share: steps, validation, hooks, snapshots, what is done about
// anomalies, and going on after a stop.
import { mkdirSync } from "node:fs";
import { basename } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Failure } from "../protocol/errors.ts";
import type { Job, JobEvent } from "../protocol/job.ts";
import { createAverages } from "./averages.ts";
import { runHook } from "./hooks.ts";
import { passesOfStep, validate } from "./passes.ts";
import { alone, type Ranks } from "./ranks.ts";
import { learningRateAt } from "./schedule.ts";
import { openSnapshots, startState, type SnapshotState } from "./snapshot.ts";
import type { SaveReason, TrainerOptions, TrainingResult } from "./trainer-options.ts";
import {
  acceptStep,
  actionOn,
  brokenWeights,
  judgeStep,
  judgeValidation,
  worthNaming,
  type Anomaly,
  type AnomalyAction,
} from "./watch/anomalies.ts";
import { createClock } from "./watch/clock.ts";
import { brokenAmong, figuresOf } from "./watch/figures.ts";
import { createLiveFigures } from "./watch/live.ts";
import { openMeters, silentMeters, type MetricsRow } from "./watch/meters.ts";
import { createWebhook, type WebhookEvent } from "./watch/webhook.ts";

/** Steps between measurements of the norms of update and weights, which cost a pass over the weights each. */
const normsEvery = 10;
/** Steps that may be left out in a row, and returns to one snapshot, before the run is stopped after all. */
const mostSkipped = 8;
const mostRollbacks = 3;

/** Trains to the schedule's last step, from the newest snapshot where there is one. */
export async function* train<B>(options: TrainerOptions<B>): Job<TrainingResult> {
  const { signal, ranks = alone } = options;
  const run = basename(options.workDirectory).replace(/\.training$/, "");
  const webhook = options.webhook === undefined || ranks.rank !== 0 ? undefined : createWebhook(options.webhook, run);
  const tell = async function* (event: WebhookEvent): AsyncGenerator<JobEvent, void> {
    const problem = await webhook?.send(event);
    if (problem !== undefined) yield { type: "note", text: problem };
  };
  const place = { step: 0 };
  try {
    const result = yield* trainSteps(options, place, tell);
    const { steps, lastLoss, validationLoss, stoppedEarly } = result;
    yield* tell({ event: "end", step: steps, lastLoss, validationLoss, stoppedEarly });
    return result;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    yield* tell({ event: signal.aborted ? "stop" : "failure", step: place.step, message });
    throw error;
  }
}

async function* trainSteps<B>(
  options: TrainerOptions<B>,
  /** Kept up to date for whoever tells of a failure. */
  place: { step: number },
  tell: (event: WebhookEvent) => AsyncGenerator<JobEvent, void>,
): Job<TrainingResult> {
  const {
    tape,
    optimizer,
    schedule,
    objective,
    validation,
    workDirectory,
    signal,
    ranks = alone,
    hooks = [],
  } = options;
  const { kernels } = tape;
  const writes = ranks.rank === 0;
  const { totalSteps } = schedule;
  mkdirSync(workDirectory, { recursive: true });
  const averages = options.ema === undefined ? undefined : createAverages(kernels, optimizer.parameters, options.ema);
  const snapshots = openSnapshots(
    workDirectory,
    [...optimizer.parameters, ...optimizer.state, ...(averages?.state ?? [])],
    writes,
  );
  const found = await snapshots.load("all");
  checkSameStart(ranks, found?.step);
  const sampler = objective.sampler(found?.sampler);
  const state: SnapshotState = { ...(found ?? startState()), sampler: sampler.state as SnapshotState["sampler"] };
  const meters = writes
    ? openMeters({
        directory: workDirectory,
        step: state.step,
        anomalies: state.anomalies,
        tensorboard: options.tensorboard,
      })
    : silentMeters();
  const clock = createClock(kernels, writes ? options.flopsPerToken : undefined, ranks.size);
  const live = createLiveFigures(clock);
  for (const step of snapshots.damaged) {
    yield { type: "note", text: `The snapshot of step ${step} in ${snapshots.directory} is damaged and passed over.` };
  }
  if (found) yield { type: "note", text: `Going on from step ${found.step} of ${totalSteps}.` };

  let savedStep = found?.step;
  const stoppedEarly = (): boolean =>
    options.earlyStopping !== undefined && state.sinceBest >= options.earlyStopping.patience;
  const done = (): boolean => state.step >= totalSteps || stoppedEarly();

  /** Runs work with the weights that would be handed out. */
  const withAverages = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    averages?.swap();
    try {
      return await work();
    } finally {
      averages?.swap();
    }
  };
  const handOut = async (step: number, reason: SaveReason): Promise<void> => {
    if (writes) await options.onSave?.(step, reason);
    ranks.meet();
  };
  const failureOf = async ({ message, reason }: Anomaly, more = ""): Promise<Failure> => {
    await snapshots.flush();
    const kept =
      savedStep === undefined
        ? "No snapshot had been made yet."
        : `The snapshot of step ${savedStep} is kept in ${snapshots.directory}; the same command goes on from it, also with another learning rate.`;
    return new Failure("numeric", more === "" ? message : `${message} ${more}`, `${kept} ${reason}`);
  };
  /** Names an anomaly, and says what to do about it. */
  async function* answer(anomaly: Anomaly, brokenTensor?: string): AsyncGenerator<JobEvent, AnomalyAction> {
    const action = actionOn(anomaly, options.onAnomaly, brokenTensor !== undefined);
    if (action === "note" && !worthNaming(state.detector, anomaly)) return action;
    const { step, kind, message, reason, figures } = anomaly;
    meters.anomaly({ step, kind, action, message, figures });
    state.anomalies++;
    yield* tell({ event: "anomaly", step, kind, action, message, reason, figures });
    if (action === "stop") throw await failureOf(anomaly);
    yield { type: "note", text: `${message} ${action === "note" ? reason : whatIsDone[action]}` };
    return action;
  }
  /** Weights, moments and averages as the newest snapshot has them; the data go on behind those that did the harm. */
  const rollBack = async (anomaly: Anomaly): Promise<void> => {
    if (state.rollbacks === mostRollbacks) {
      throw await failureOf(anomaly, `It went back to step ${savedStep} ${mostRollbacks} times before.`);
    }
    await snapshots.flush();
    ranks.meet();
    const back = await snapshots.load("turns");
    if (back === undefined) throw await failureOf(anomaly);
    const { batches, anomalies, rollbacks } = state;
    Object.assign(state, back, { sampler: sampler.state, batches, anomalies, rollbacks: rollbacks + 1 });
    place.step = state.step;
    meters.backTo(state.step);
  };
  const save = async (why: "turn" | "stop"): Promise<void> => {
    if (why === "turn") state.rollbacks = 0;
    await snapshots.save(state, why);
    savedStep = state.step;
  };
  /** Looks at held-out batches, and keeps the weights where they are the best so far. */
  const look = async (row: MetricsRow): Promise<Anomaly | undefined> => {
    const means = await validate({ tape, objective, ranks }, validation, row.step);
    row.validationLoss = means.loss;
    addParts(row, "validation", means.parts);
    if (!(means.loss < (state.best?.loss ?? Infinity))) {
      state.sinceBest++;
      return judgeValidation(row.step, means.loss, state.best?.loss ?? Number.NaN, state.sinceBest);
    }
    state.best = { step: row.step, loss: means.loss };
    state.sinceBest = 0;
    if (!options.keepBest) return undefined;
    if (writes) await snapshots.saveBest(state.best, optimizer.parameters);
    await handOut(row.step, "best");
    return undefined;
  };

  try {
    // What a return to the newest snapshot falls back on before there is another.
    if (options.onAnomaly === "rollback" && !found) await save("turn");
    while (!done()) {
      if (anyOf(ranks, signal.aborted)) {
        const broken = brokenAmong(kernels, optimizer.parameters);
        if (broken) throw await failureOf(brokenWeights(state.step, broken.name));
        await save("stop");
        await snapshots.flush();
        yield { type: "note", text: `Step ${state.step} is saved; the same command goes on from there.` };
        // Another rank may have been asked.
        throw signal.reason ?? new DOMException("another rank was asked to stop", "AbortError");
      }
      const started = performance.now();
      const step = state.step + 1;
      const learningRate = learningRateAt(state.step, schedule);
      const { accumulate } = options;
      const passes = await passesOfStep({ tape, objective, ranks, exchange: optimizer.exchange }, sampler, {
        step: state.step,
        firstBatch: state.batches,
        batches: typeof accumulate === "number" ? accumulate : accumulate(state.step),
      });
      state.batches += passes.batches;
      const figures = figuresOf({ kernels, optimizer, decoder: options.decoder }, passes, step);
      const anomaly = judgeStep(state.detector, figures, objective.lossMeasures);
      const action = anomaly && (yield* answer(anomaly, figures.brokenTensor));
      if (action === "rollback") {
        optimizer.skip();
        await rollBack(anomaly!);
        continue;
      }
      const { loss, gradientNorm } = figures;
      const row: MetricsRow = { step, loss, learningRate, gradientNorm, tokens: state.tokens + passes.tokens };
      if (action === "skip") {
        optimizer.skip();
        row.skipped = anomaly!.kind;
        if (++state.skipped > mostSkipped) {
          throw await failureOf(anomaly!, `It is the last of ${state.skipped} steps in a row that were left out.`);
        }
      } else {
        const norms = optimizer.update(step, learningRate, gradientNorm, step === 1 || step % normsEvery === 0);
        if (norms) Object.assign(row, { updateNorm: norms.update, weightNorm: norms.weight });
        averages?.update(step);
        acceptStep(state.detector, figures);
        state.skipped = 0;
      }
      state.step = place.step = step;
      state.tokens = row.tokens;
      addParts(row, "", passes.parts);
      const timing = clock.step(step, passes.tokens, (performance.now() - started) / 1000);

      if (validation.length > 0 && (step === totalSteps || step % options.validateEvery === 0)) {
        const stall = await withAverages(() => look(row));
        if (stall) yield* answer(stall);
      }
      for (const hook of hooks) {
        if (!done() && step % hook.every !== 0) continue;
        averages?.swap();
        if (writes) addParts(row, hook.name, yield* runHook(hook, step, signal));
        averages?.swap();
        ranks.meet();
      }
      meters.add(row, timing);
      yield {
        type: "progress",
        step: options.name,
        done: step,
        total: totalSteps,
        unit: "steps",
        metrics: live(row, timing),
      };
      const slowness = clock.slowness();
      if (slowness !== undefined) {
        yield { type: "note", text: slowness };
        yield* tell({ event: "anomaly", step, kind: "slow-step", action: "note", message: slowness });
      }

      if (done() || step % options.snapshotEvery === 0) {
        // A snapshot or a result of broken weights would take the place of good ones.
        const broken = brokenAmong(kernels, optimizer.parameters);
        if (broken) {
          const breakdown = brokenWeights(step, broken.name);
          yield* answer(breakdown, broken.name);
          await rollBack(breakdown);
          continue;
        }
        await save("turn");
        if (!done()) await withAverages(() => handOut(step, "snapshot"));
      }
      // The loop is synchronous but for this: lets messages and signals in.
      await nextTurn();
    }
    await snapshots.flush();
    ranks.meet();
    const stateFile = writes ? snapshots.newestFile : undefined;
    averages?.swap();
    const best = options.keepBest ? await snapshots.loadBest(optimizer.parameters) : undefined;
    const weightsOfStep = best?.step ?? state.step;
    if (stoppedEarly() && state.step < totalSteps) {
      yield {
        type: "note",
        text: `Ended at step ${state.step} of ${totalSteps}: no validation was better than that of step ${state.best?.step}.`,
      };
    }
    await handOut(weightsOfStep, "end");
    const { curve, anomalies } = meters;
    return {
      steps: state.step,
      stoppedEarly: state.step < totalSteps,
      weightsOfStep,
      sampler: sampler.state,
      firstLoss: curve[0]?.loss ?? Number.NaN,
      lastLoss: curve.at(-1)?.loss ?? Number.NaN,
      validationLoss:
        best?.loss ?? curve.findLast((row) => row.validationLoss !== undefined)?.validationLoss ?? Number.NaN,
      tokensPerSecond: clock.tokensPerSecond,
      curve,
      anomalies,
      stateFile,
    };
  } finally {
    await snapshots.close();
  }
}

const whatIsDone = {
  skip: "Its update is left out.",
  rollback: "Going back to the newest snapshot, and on with the data after these.",
} as const;

function addParts(row: MetricsRow, prefix: string, parts: Record<string, number>): void {
  for (const [name, value] of Object.entries(parts)) {
    row.parts = { ...row.parts, [prefix === "" ? name : `${prefix}/${name}`]: value };
  }
}

/** Ranks that read other snapshots would train other models. */
function checkSameStart(ranks: Ranks, step: number | undefined): void {
  const first = ranks.agree(step ?? 0);
  if (first === (step ?? 0)) return;
  throw new Failure(
    "environment",
    `${ranks.name} found the snapshot of step ${step ?? 0}, and rank 0 that of step ${first}.`,
    "Every rank must see the same files: put the output on a disk that all machines share.",
  );
}

/** Whether it is so on one of the ranks. */
function anyOf(ranks: Ranks, here: boolean): boolean {
  const count = Float64Array.of(Number(here));
  ranks.sum(count);
  return count[0]! > 0;
}
