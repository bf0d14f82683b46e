// Training on ranks of a real mpirun: what one process would compute, the same bits every time, moments dealt out or not.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../../formats/safetensors.ts";
import { noMpi, runPrograms } from "./mpi-jobs.ts";
import type { RankProgram } from "./rank-program.ts";
import { threadsOfRank } from "./ranks.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-ranks-"));
after(() => rmSync(folder, { recursive: true }));

const skip = noMpi ?? false;
const base = { steps: 50, accumulate: 4, optimizer: "adamw" } as const;

type Wanted = Omit<RankProgram, "workDirectory">;

/** Runs each to its end, one after the other in one job, and reads what is left. */
async function finish(ranks: number, name: string, wanted: readonly Wanted[]) {
  const programs = wanted.map((each, index) => ({ ...each, workDirectory: join(folder, `${name}-${index}`) }));
  const { code, stderr, results } = await runPrograms(ranks, programs);
  assert.equal(code, 0, stderr);
  return results.map(({ stateFile, ...more }, index) => {
    const metrics = readFileSync(join(programs[index]!.workDirectory, "metrics.jsonl"), "utf8");
    const lines = metrics.trim().split("\n");
    return {
      ...more,
      metrics,
      losses: lines.map((line) => (JSON.parse(line) as { loss: number }).loss),
      stateFile: stateFile!,
      state: createHash("sha256").update(readFileSync(stateFile!)).digest("hex"),
    };
  });
}

/** The largest difference between the numbers of two snapshots. */
function distance(first: string, second: string): number {
  const [a, b] = [openSafetensors(first), openSafetensors(second)];
  try {
    let most = 0;
    for (const name of a.tensors.keys()) {
      const [x, y] = [readFloats(a, name), readFloats(b, name)];
      for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i]! - y[i]!));
    }
    return most;
  } finally {
    a.close();
    b.close();
  }
}

const optimizers = ["adamw", "muon", "sgd"] as const;

test("two ranks are one with the same batches to 1e-6 over 50 steps, for every optimizer", { skip }, async () => {
  const wanted = optimizers.map((optimizer) => ({ ...base, optimizer, tied: optimizer === "sgd" }));
  const ones = await finish(1, "one", wanted);
  const twos = await finish(2, "two", wanted);
  for (const [index, optimizer] of optimizers.entries()) {
    const [one, two] = [ones[index]!, twos[index]!];
    assert.equal(two.losses.length, base.steps);
    for (const [step, loss] of one.losses.entries()) {
      const other = two.losses[step]!;
      assert.ok(Math.abs(loss - other) <= 1e-6, `${optimizer}, step ${step + 1}: ${loss} and ${other}`);
    }
    const apart = distance(one.stateFile, two.stateFile);
    assert.ok(apart <= 1e-5, `${optimizer}: weights and moments differ by ${apart}`);
  }
  // A second job, with a layer whose activations are made again, and with the moments dealt out.
  const again = await finish(2, "again", [
    ...wanted.map((each) => ({ ...each, checkpointing: 0.5 })),
    ...wanted.map((each) => ({ ...each, zeroGroup: 2 })),
  ]);
  for (const [index, optimizer] of optimizers.entries()) {
    const [two, same, dealt] = [twos[index]!, again[index]!, again[index + optimizers.length]!];
    assert.equal(same.state, two.state, `${optimizer}: two runs`);
    assert.equal(same.metrics, two.metrics, optimizer);
    assert.equal(dealt.state, two.state, `${optimizer}: moments dealt out`);
    for (const { bytesSent, bytesReckoned } of [two, dealt]) assert.equal(bytesSent, bytesReckoned, "bytes of vectors");
    const share = dealt.momentBytes / two.momentBytes;
    assert.ok(share > 0.35 && share < 0.65, `${optimizer}: rank 0 keeps ${share} of the moments`);
  }
});

test("four ranks in groups of one, two and four end with the same bits", { skip }, async () => {
  const options = { ...base, steps: 6, optimizer: "muon" } as const;
  const [alone, pairs, all] = await finish(
    4,
    "four",
    [1, 2, 4].map((zeroGroup) => ({ ...options, zeroGroup })),
  );
  assert.equal(pairs!.state, alone!.state);
  assert.equal(all!.state, alone!.state);
  for (const { bytesSent, bytesReckoned } of [alone!, pairs!, all!]) assert.equal(bytesSent, bytesReckoned);
  assert.ok(all!.momentBytes < pairs!.momentBytes && pairs!.momentBytes < alone!.momentBytes);
});

test("a rank without a batch in a step waits for the others", { skip }, async () => {
  const options = { ...base, steps: 4, accumulate: 1 };
  const [[one], [two]] = [await finish(1, "idle-one", [options]), await finish(2, "idle-two", [options])];
  assert.deepEqual(two!.losses, one!.losses);
});

test("threads of a rank: the processors it is bound to, or its share of the machine's", () => {
  assert.equal(threadsOfRank(2, 2, 1), 2);
  assert.equal(threadsOfRank(2, 2, 2), 1);
  assert.equal(threadsOfRank(1, 2, 2), 1, "bound to a core each");
  assert.equal(threadsOfRank(8, 64, 4), 8, "bound to eight cores each");
  assert.equal(threadsOfRank(64, 64, 4), 16);
  assert.equal(threadsOfRank(4, 64, 32), 1, "fewer processors than ranks");
});
