// The loop that pre-training, fine-tuning and preferences share: steps, validation, hooks, snapshots, and what is done
// about anomalies.
import { basename } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Job, JobEvent } from "../protocol/job.ts";
import { runHook } from "./hooks.ts";
import { passesOfStep, validate } from "./passes.ts";
import { alone, type Ranks } from "./ranks.ts";
import { openRun, type Tell, type TrainingRun } from "./run.ts";
import { learningRateAt } from "./schedule.ts";
import type { TrainerOptions, TrainingResult } from "./trainer-options.ts";
import { acceptStep, brokenWeights, judgeStep, judgeValidation, type Anomaly } from "./watch/anomalies.ts";
import { createClock } from "./watch/clock.ts";
import { brokenAmong, figuresOf } from "./watch/figures.ts";
import { createLiveFigures } from "./watch/live.ts";
import type { MetricsRow } from "./watch/meters.ts";
import { createWebhook } from "./watch/webhook.ts";

/** Steps between measurements of the norms of update and weights, which cost a pass over the weights each. */
const normsEvery = 10;

/** Trains to the schedule's last step, from the newest snapshot where there is one. */
export async function* train<B>(options: TrainerOptions<B>): Job<TrainingResult> {
  const { signal, ranks = alone } = options;
  const name = basename(options.workDirectory).replace(/\.training$/, "");
  const webhook = options.webhook === undefined || ranks.rank !== 0 ? undefined : createWebhook(options.webhook, name);
  const tell: Tell = async function* (event) {
    const problem = await webhook?.send(event);
    if (problem !== undefined) yield { type: "note", text: problem };
  };
  const run = await openRun(options, tell);
  try {
    const result = yield* trainSteps(options, run, tell);
    const { steps, lastLoss, validationLoss, stoppedEarly } = result;
    yield* tell({ event: "end", step: steps, lastLoss, validationLoss, stoppedEarly });
    return result;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    yield* tell({ event: signal.aborted ? "stop" : "failure", step: run.state.step, message });
    throw error;
  } finally {
    await run.close();
  }
}

async function* trainSteps<B>(options: TrainerOptions<B>, run: TrainingRun<B>, tell: Tell): Job<TrainingResult> {
  const { tape, optimizer, validation, signal, ranks = alone, hooks = [], earlyStopping } = options;
  const { totalSteps } = options.schedule;
  const { state, meters } = run;
  const writes = ranks.rank === 0;
  const clock = createClock(tape.kernels, writes ? options.flopsPerToken : undefined, ranks.size);
  const live = createLiveFigures(clock);
  const stoppedEarly = (): boolean => earlyStopping !== undefined && state.sinceBest >= earlyStopping.patience;
  const done = (): boolean => state.step >= totalSteps || stoppedEarly();
  for (const text of run.notes) yield { type: "note", text };

  while (!done()) {
    if (anyOf(ranks, signal.aborted)) {
      yield* stop(options, run);
    }
    const started = performance.now();
    const row = yield* takeStep(options, run);
    if (row === undefined) continue;
    const { step } = row;
    const timing = clock.step(step, row.tokens - state.tokens, (performance.now() - started) / 1000);
    state.step = step;
    state.tokens = row.tokens;

    if (validation.length > 0 && (step === totalSteps || step % options.validateEvery === 0)) {
      run.swap();
      const stall = await look(options, run, row);
      run.swap();
      if (stall) yield* run.answer(stall);
    }
    for (const hook of hooks) {
      if (!done() && step % hook.every !== 0) continue;
      run.swap();
      if (writes) addParts(row, hook.name, yield* runHook(hook, step, signal));
      run.swap();
      ranks.meet();
    }
    meters.add(row, timing);
    const metrics = live(row, timing);
    yield { type: "progress", step: options.name, done: step, total: totalSteps, unit: "steps", metrics };
    const slowness = clock.slowness();
    if (slowness !== undefined) {
      yield { type: "note", text: slowness };
      yield* tell({ event: "anomaly", step, kind: "slow-step", action: "note", message: slowness });
    }

    if (done() || step % options.snapshotEvery === 0) {
      // A snapshot or a result of broken weights would take the place of good ones.
      const broken = brokenAmong(tape.kernels, optimizer.parameters);
      if (broken) {
        const breakdown = brokenWeights(step, broken.name);
        yield* run.answer(breakdown, broken.name);
        await run.rollBack(breakdown);
        continue;
      }
      await run.save("turn");
      if (!done()) {
        run.swap();
        await run.handOut(step, "snapshot");
        run.swap();
      }
    }
    // The loop is synchronous but for this: lets messages and signals in.
    await nextTurn();
  }

  const stateFile = await run.flush();
  run.swap();
  const best = options.keepBest ? await run.loadBest() : undefined;
  const weightsOfStep = best?.step ?? state.step;
  if (stoppedEarly() && state.step < totalSteps) {
    const text = `Ended at step ${state.step} of ${totalSteps}: no validation was better than that of step ${state.best?.step}.`;
    yield { type: "note", text };
  }
  await run.handOut(weightsOfStep, "end");
  const { curve, anomalies } = meters;
  const lastValidated = curve.findLast((row) => row.validationLoss !== undefined);
  return {
    steps: state.step,
    stoppedEarly: state.step < totalSteps,
    weightsOfStep,
    sampler: run.sampler.state,
    firstLoss: curve[0]?.loss ?? Number.NaN,
    lastLoss: curve.at(-1)?.loss ?? Number.NaN,
    validationLoss: best?.loss ?? lastValidated?.validationLoss ?? Number.NaN,
    tokensPerSecond: clock.tokensPerSecond,
    curve,
    anomalies,
    stateFile,
  };
}

/** Saves and ends with the signal's reason. */
async function* stop<B>(options: TrainerOptions<B>, run: TrainingRun<B>): AsyncGenerator<JobEvent, never> {
  const { tape, optimizer, signal } = options;
  const { step } = run.state;
  const broken = brokenAmong(tape.kernels, optimizer.parameters);
  if (broken) throw await run.failureOf(brokenWeights(step, broken.name));
  await run.save("stop");
  await run.flush();
  yield { type: "note", text: `Step ${step} is saved; the same command goes on from there.` };
  // Another rank may have been asked.
  throw signal.reason ?? new DOMException("another rank was asked to stop", "AbortError");
}

/** One step: passes, judgement, update. Its row; undefined where the run went back to a snapshot. */
async function* takeStep<B>(
  options: TrainerOptions<B>,
  run: TrainingRun<B>,
): AsyncGenerator<JobEvent, MetricsRow | undefined> {
  const { tape, decoder, optimizer, objective, accumulate, ranks = alone } = options;
  const { kernels } = tape;
  const { state } = run;
  const step = state.step + 1;
  const learningRate = learningRateAt(state.step, options.schedule);
  const passes = await passesOfStep({ tape, objective, ranks, exchange: optimizer.exchange }, run.sampler, {
    step: state.step,
    firstBatch: state.batches,
    batches: typeof accumulate === "number" ? accumulate : accumulate(state.step),
  });
  state.batches += passes.batches;
  const figures = figuresOf({ kernels, optimizer, decoder }, passes, step);
  const anomaly = judgeStep(state.detector, figures, objective.lossMeasures);
  const action = anomaly && (yield* run.answer(anomaly, figures.brokenTensor));
  if (action === "rollback") {
    optimizer.skip();
    await run.rollBack(anomaly!);
    return undefined;
  }
  const { loss, gradientNorm } = figures;
  const row: MetricsRow = { step, loss, learningRate, gradientNorm, tokens: state.tokens + passes.tokens };
  addParts(row, "", passes.parts);
  if (action === "skip") {
    optimizer.skip();
    row.skipped = anomaly!.kind;
    state.skipped++;
    return row;
  }
  const norms = optimizer.update(step, learningRate, gradientNorm, step === 1 || step % normsEvery === 0);
  if (norms) Object.assign(row, { updateNorm: norms.update, weightNorm: norms.weight });
  run.average(step);
  acceptStep(state.detector, figures);
  state.skipped = 0;
  return row;
}

/** Looks at held-out batches, and keeps the weights where they are the best so far. */
async function look<B>(options: TrainerOptions<B>, run: TrainingRun<B>, row: MetricsRow): Promise<Anomaly | undefined> {
  const { tape, objective, ranks = alone } = options;
  const { state } = run;
  const { loss, parts } = await validate({ tape, objective, ranks }, options.validation, row.step);
  row.validationLoss = loss;
  addParts(row, "validation", parts);
  if (!(loss < (state.best?.loss ?? Infinity))) {
    state.sinceBest++;
    return judgeValidation(row.step, loss, state.best?.loss ?? Number.NaN, state.sinceBest);
  }
  state.best = { step: row.step, loss };
  state.sinceBest = 0;
  if (options.keepBest) {
    await run.saveBest(state.best);
    await run.handOut(row.step, "best");
  }
  return undefined;
}

function addParts(row: MetricsRow, prefix: string, parts: Record<string, number>): void {
  for (const [name, value] of Object.entries(parts)) {
    row.parts = { ...row.parts, [prefix === "" ? name : `${prefix}/${name}`]: value };
  }
}

/** Whether it is so on one of the ranks. */
function anyOf(ranks: Ranks, here: boolean): boolean {
  const count = Float64Array.of(Number(here));
  ranks.sum(count);
  return count[0]! > 0;
}
