// What a run keeps from step to step: its place, snapshots, averages, the best weights, the figures; and the way back to
// all of it after an anomaly or a stop.
import { mkdirSync } from "node:fs";
import { Failure } from "../protocol/errors.ts";
import type { JobEvent } from "../protocol/job.ts";
import { createAverages } from "./averages.ts";
import { alone, type Ranks } from "./ranks.ts";
import type { Sampler } from "./sampler.ts";
import { openSnapshots, startState, type SnapshotState } from "./snapshot.ts";
import type { SaveReason, TrainerOptions } from "./trainer-options.ts";
import { actionOn, worthNaming, type Anomaly, type AnomalyAction } from "./watch/anomalies.ts";
import { openMeters, silentMeters, type Meters } from "./watch/meters.ts";
import type { WebhookEvent } from "./watch/webhook.ts";

/** Returns to one snapshot, and steps left out in a row, before the run is stopped after all. */
const mostRollbacks = 3;
const mostSkipped = 8;

/** Tells whoever is told from afar; what it yields are its own troubles. */
export type Tell = (event: WebhookEvent) => AsyncGenerator<JobEvent, void>;

export interface TrainingRun<B> {
  /** Live: what a snapshot holds besides tensors. */
  readonly state: SnapshotState;
  readonly sampler: Sampler<B>;
  readonly meters: Meters;
  /** What there is to say of how it begins. */
  readonly notes: readonly string[];
  /** Takes the weights of a step, counted from 1, into the averages. */
  average(step: number): void;
  /** Exchanges the weights and those that would be handed out; a second call puts them back. */
  swap(): void;
  /** Lets the caller have the weights that the decoder holds. */
  handOut(step: number, reason: SaveReason): Promise<void>;
  /** Starts a snapshot. */
  save(why: "turn" | "stop"): Promise<void>;
  /** Keeps the weights that the decoder holds as the best. */
  saveBest(best: { step: number; loss: number }): Promise<void>;
  /** Loads them; undefined where there are none. */
  loadBest(): Promise<{ step: number; loss: number } | undefined>;
  /** Waits for the snapshot; the file of the newest one, on the rank that writes. */
  flush(): Promise<string | undefined>;
  /** Names an anomaly, and says what to do about it; throws where that is to stop. */
  answer(anomaly: Anomaly, brokenTensor?: string): AsyncGenerator<JobEvent, AnomalyAction>;
  /** Weights, moments and averages as the newest snapshot has them; the data go on behind those that did the harm. */
  rollBack(anomaly: Anomaly): Promise<void>;
  /** The end of a run by an anomaly: what is left of it is said. */
  failureOf(anomaly: Anomaly, more?: string): Promise<Failure>;
  close(): Promise<void>;
}

/** From the newest snapshot that is whole, or from the start. */
export async function openRun<B>(options: TrainerOptions<B>, tell: Tell): Promise<TrainingRun<B>> {
  const { tape, optimizer, schedule, objective, workDirectory, onAnomaly, tensorboard, ranks = alone } = options;
  const { parameters } = optimizer;
  const writes = ranks.rank === 0;
  mkdirSync(workDirectory, { recursive: true });
  const averages = options.ema === undefined ? undefined : createAverages(tape.kernels, parameters, options.ema);
  const tensors = [...parameters, ...optimizer.state, ...(averages?.state ?? [])];
  const snapshots = openSnapshots(workDirectory, tensors, writes);
  const found = await snapshots.load("all");
  checkSameStart(ranks, found?.step);
  if (found && found.step > schedule.totalSteps) {
    await snapshots.close();
    throw new Failure(
      "usage",
      `${workDirectory} is at step ${found.step} already, and ${schedule.totalSteps} steps were asked for.`,
      "Ask for more steps, or remove the directory to begin again.",
    );
  }
  const sampler = objective.sampler(found?.sampler);
  const state: SnapshotState = { ...(found ?? startState()), sampler: sampler.state as SnapshotState["sampler"] };
  const meters = writes
    ? openMeters({ directory: workDirectory, step: state.step, anomalies: state.anomalies, tensorboard })
    : silentMeters();
  const notes = snapshots.damaged.map(
    (step) => `The snapshot of step ${step} in ${snapshots.directory} is damaged and passed over.`,
  );
  if (options.validation.length === 0 && (options.keepBest || options.earlyStopping)) {
    notes.push(
      "Nothing is held out, so there is no best step to keep, nor one to end after: the run goes to its last step.",
    );
  }
  if (found) notes.push(`Going on from step ${found.step} of ${schedule.totalSteps}.`);
  let savedStep = found?.step;

  /** A sentence where it was done as often as it may be. */
  const wasTried = (action: AnomalyAction): string | undefined => {
    if (action === "rollback" && state.rollbacks === mostRollbacks) {
      return `The run went back to step ${savedStep} ${mostRollbacks} times before.`;
    }
    if (action === "skip" && state.skipped === mostSkipped) return `${mostSkipped} steps before it were left out.`;
    return undefined;
  };

  const run: TrainingRun<B> = {
    state,
    sampler,
    meters,
    notes,
    average: (step) => averages?.update(step),
    swap: () => averages?.swap(),
    async handOut(step, reason) {
      if (writes) await options.onSave?.(step, reason);
      ranks.meet();
    },
    async save(why) {
      if (why === "turn") state.rollbacks = 0;
      await snapshots.save(state, why);
      savedStep = state.step;
    },
    async saveBest(best) {
      if (writes) await snapshots.saveBest(best, parameters);
    },
    loadBest: () => snapshots.loadBest(parameters),
    async flush() {
      await snapshots.flush();
      ranks.meet();
      return writes ? snapshots.newestFile : undefined;
    },
    async *answer(anomaly, brokenTensor) {
      const wanted = actionOn(anomaly, onAnomaly, brokenTensor !== undefined);
      const tried = wasTried(wanted);
      const action = tried === undefined ? wanted : "stop";
      if (action === "note" && !worthNaming(state.detector, anomaly)) return action;
      const { step, kind, message, reason, figures } = anomaly;
      meters.anomaly({ step, kind, action, message, figures });
      state.anomalies++;
      yield* tell({ event: "anomaly", step, kind, action, message, reason, figures });
      if (action === "stop") throw await run.failureOf(anomaly, tried);
      yield { type: "note", text: `${message} ${action === "note" ? reason : whatIsDone[action]}` };
      return action;
    },
    async rollBack(anomaly) {
      await run.flush();
      const back = await snapshots.load("turns");
      if (back === undefined) throw await run.failureOf(anomaly);
      const { batches, anomalies, rollbacks } = state;
      Object.assign(state, back, { sampler: sampler.state, batches, anomalies, rollbacks: rollbacks + 1 });
      savedStep = state.step;
      meters.backTo(state.step);
    },
    async failureOf({ message, reason }, more) {
      await snapshots.flush();
      const kept =
        savedStep === undefined
          ? "No snapshot had been made yet."
          : `The snapshot of step ${savedStep} is kept in ${snapshots.directory}; the same command goes on from it, also with another learning rate.`;
      return new Failure("numeric", more === undefined ? message : `${message} ${more}`, `${kept} ${reason}`);
    },
    close: () => snapshots.close(),
  };
  // What a return to the newest snapshot falls back on before there is another.
  if (onAnomaly === "rollback" && !found) await run.save("turn");
  return run;
}

const whatIsDone = {
  skip: "Its update is left out.",
  rollback: "Going back to the newest snapshot, and on with the data after these.",
} as const;

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
