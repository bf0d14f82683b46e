// What the tests of ranks start by mpirun: a tiny model on a few made-up documents, and failures made on purpose.
// Usage: node rank-program.ts '[{"workDirectory": ..., ...}, ...]'; one after the other.
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { runJob, type Job } from "../../protocol/job.ts";
import { createTape } from "../../tensor/index.ts";
import { nextToken } from "../objective.ts";
import { createOptimizer, type OptimizerSettings } from "../optimizer.ts";
import type { Ranks } from "../ranks.ts";
import { createExampleSampler, type WalkState } from "../sampler.ts";
import { train } from "../trainer.ts";
import { onRanks } from "./ranks.ts";
import { sentInStep } from "./simulate.ts";

export interface RankProgram {
  workDirectory: string;
  steps: number;
  accumulate: number;
  optimizer: OptimizerSettings["kind"];
  snapshotEvery?: number;
  zeroGroup?: number;
  tied?: boolean;
  checkpointing?: number;
  /** What a rank does after a step instead of going on. */
  failure?: { rank: number; step: number; how: "throw" | "kill" | "kill all" | "hang" | "stop" };
}

/** What rank 0 prints at the end as a line of JSON, after a line for each step. */
export interface RankProgramResult {
  /** Undefined on other ranks. */
  stateFile: string | undefined;
  lastLoss: number;
  momentBytes: number;
  bytesSent: number;
  /** As the simulation reckons it. */
  bytesReckoned: number;
}

const stopping = new AbortController();
for (const program of JSON.parse(process.argv[2]!) as RankProgram[]) {
  const job = onRanks((ranks) => work(ranks, program));
  const result = await runJob(job, (event) => {
    if (event.type === "progress") console.log(`step ${event.done}`);
  }).catch((error: unknown) => {
    if (error instanceof Error && error.name === "AbortError") process.exit(130);
    throw error;
  });
  if (result.stateFile !== undefined) console.log(JSON.stringify(result));
}
// As the command line does: the exchange's thread must not keep the process.
process.exit(0);

async function* work(ranks: Ranks, program: RankProgram): Job<RankProgramResult> {
  const { steps, accumulate, failure } = program;
  const sentBefore = ranks.messages?.counts().bytesSent ?? 0;
  const kernels = loadKernels();
  // Several layers and a small bucket, so that there is something to overlap.
  const config = tinyConfig("llama", { layers: 3, vocabSize: 40, tieEmbeddings: program.tied ?? false });
  const decoder = initializeDecoder(kernels, config, 3);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const optimizer = createOptimizer(
    kernels,
    decoder,
    parameters,
    { kind: program.optimizer, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 },
    { ranks, zeroGroup: program.zeroGroup ?? 1, bucketBytes: 2048 },
  );
  using tape = createTape(kernels, { recording: true });
  const examples = Array.from({ length: 23 }, (_, index) => {
    const tokens = Int32Array.from({ length: 4 + (index % 9) }, (_unused, place) => 3 + ((index * place + place) % 37));
    return { tokens, targets: Int32Array.of(...tokens.subarray(1), 2) };
  });
  const training = train({
    name: "train",
    tape,
    decoder,
    optimizer,
    ranks,
    schedule: { kind: "cosine", peak: 3e-3, finalShare: 0.1, totalSteps: steps, warmupSteps: 3 },
    objective: nextToken(
      decoder,
      (from) => createExampleSampler(examples, { rows: 24, seed: 4, padId: 2 }, from as WalkState | undefined),
      program.checkpointing === undefined ? {} : { checkpointing: program.checkpointing },
    ),
    accumulate,
    validation: [],
    validateEvery: 1000,
    workDirectory: program.workDirectory,
    snapshotEvery: program.snapshotEvery ?? 1000,
    signal: stopping.signal,
  });
  for (;;) {
    const { done, value } = await training.next();
    if (!done) {
      if (value.type === "progress") failAfter(failure, ranks, value.done);
      yield value;
      continue;
    }
    return {
      stateFile: value.stateFile,
      lastLoss: value.lastLoss,
      momentBytes: optimizer.state.reduce((sum, { data }) => sum + data.byteLength, 0),
      bytesSent: (ranks.messages?.counts().bytesSent ?? 0) - sentBefore,
      bytesReckoned: steps * sentInStep(optimizer.exchange?.buckets ?? [], ranks.rank).bytes,
    };
  }
}

function failAfter(failure: RankProgram["failure"], ranks: Ranks, step: number): void {
  if (failure === undefined || failure.rank !== ranks.rank || failure.step !== step) return;
  switch (failure.how) {
    case "throw":
      throw new Error("made to fail");
    case "kill all":
      // mpirun, the other ranks of this machine, itself: as when the power is cut.
      for (const pid of [process.ppid, ...(ranks.messages?.peers ?? []).map((peer) => peer.process)]) {
        if (pid !== process.pid) process.kill(pid, "SIGKILL");
      }
      process.kill(process.pid, "SIGKILL");
      break;
    case "kill":
      process.kill(process.pid, "SIGKILL");
      break;
    case "hang":
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      break;
    case "stop":
      stopping.abort();
      break;
    default:
      failure.how satisfies never;
  }
}
