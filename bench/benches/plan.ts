// What training takes beside what `lianlu plan train` says it will: peak memory, and the time of a step, of runs of several
// sizes. The plan stands where a peer stands in other benches; a ratio within 10% of 1 is what is aimed at.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { precisionMissing } from "../../src/kernels/index.ts";
import { defineBench, row } from "../harness.ts";
import type { PlanAndRun, Subject } from "../plan-subject.ts";

const small = {
  hiddenSize: 256,
  layers: 4,
  vocabSize: 4096,
  accumulate: 1,
  checkpointing: 0,
  precision: "f32",
} as const;
const middle = { ...small, hiddenSize: 512, layers: 8, vocabSize: 8192 };
const large = { ...small, hiddenSize: 768, layers: 12, vocabSize: 16384 };

const subjects: Record<string, Subject> = {
  "5 M, muon": { ...small, batchTokens: 1024, optimizer: "muon" },
  "5 M, adamw, 4096 tokens, checkpointing 1": { ...small, batchTokens: 4096, optimizer: "adamw", checkpointing: 1 },
  "33 M, adamw": { ...middle, batchTokens: 1024, optimizer: "adamw" },
  "33 M, adamw, 2 batches, checkpointing 0.5": {
    ...middle,
    batchTokens: 512,
    accumulate: 2,
    optimizer: "adamw",
    checkpointing: 0.5,
  },
  "33 M, muon, 2048 tokens, checkpointing 1": { ...middle, batchTokens: 2048, optimizer: "muon", checkpointing: 1 },
  "33 M, sgd": { ...middle, batchTokens: 1024, optimizer: "sgd" },
  "33 M, adamw, bf16": { ...middle, batchTokens: 1024, optimizer: "adamw", precision: "bf16" },
  "110 M, LoRA": { ...large, batchTokens: 512, optimizer: "adamw", lora: "f32" },
  "110 M, LoRA on nf4, checkpointing 1": {
    ...large,
    batchTokens: 512,
    optimizer: "adamw",
    lora: "nf4",
    checkpointing: 1,
  },
};

const mebibyte = 2 ** 20;

export default defineBench({
  async *rows({ threads, wants, note }) {
    const count = threads.at(-1)!;
    const missing = precisionMissing("bf16");
    for (const [name, subject] of Object.entries(subjects)) {
      const [memory, time] = [`plan memory ${name}`, `plan step ${name}`];
      if (!wants(memory) && !wants(time)) continue;
      if (subject.precision === "bf16" && missing !== undefined) {
        note(`No row of bf16: ${missing}.`);
        continue;
      }
      const { plannedBytes, takenBytes, plannedSeconds, takenSeconds } = planAndRun(subject, count);
      yield row(memory, count, takenBytes / mebibyte, "MiB", { peer: "planned", peerValue: plannedBytes / mebibyte });
      yield row(time, count, 1000 * takenSeconds, "ms", { peer: "planned", peerValue: 1000 * plannedSeconds });
    }
  },
});

/** In a process of its own, whose peak memory is that of the one run. */
function planAndRun(subject: Subject, threads: number): PlanAndRun {
  const child = spawnSync(process.execPath, [join(import.meta.dirname, "../plan-subject.ts")], {
    env: { ...process.env, LIANLU_PLAN_SUBJECT: JSON.stringify(subject), LIANLU_THREADS: String(threads) },
    stdio: ["ignore", "pipe", "inherit"],
    encoding: "utf8",
  });
  if (child.status !== 0) throw new Error(`the run ended with ${child.status ?? child.signal}`);
  return JSON.parse(child.stdout) as PlanAndRun;
}
