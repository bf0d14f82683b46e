// Training on ranks of a real mpirun: what one process would compute, the same bits every time, moments dealt out or not.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../../formats/safetensors.ts";
import { noMpi, runProgram } from "./mpi-jobs.ts";
import type { RankProgram } from "./rank-program.ts";
import { threadsOfRank } from "./ranks.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-ranks-"));
after(() => rmSync(folder, { recursive: true }));

const skip = noMpi ?? false;
const base = { steps: 50, accumulate: 4, optimizer: "adamw" } as const;

/** Runs to the end and reads what is left. */
async function finish(name: string, ranks: number, options: Omit<RankProgram, "workDirectory">) {
  const workDirectory = join(folder, name);
  const outcome = await runProgram(ranks, { ...options, workDirectory });
  assert.equal(outcome.code, 0, outcome.stderr);
  const { stateFile, momentBytes, bytesSent } = outcome.result!;
  const metrics = readFileSync(join(workDirectory, "metrics.jsonl"), "utf8");
  const rows = metrics
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { loss: number; gradientNorm: number });
  const state = createHash("sha256").update(readFileSync(stateFile!)).digest("hex");
  return { stateFile: stateFile!, momentBytes, bytesSent, rows, metrics, state };
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

for (const optimizer of ["adamw", "muon", "sgd"] as const) {
  test(
    `${optimizer}: two ranks are one with the same batches to 1e-6, twice the same bits, with moments dealt out too`,
    { skip },
    async () => {
      const options = { ...base, optimizer, tied: optimizer === "sgd" };
      const [one, two, again, dealt] = [
        await finish(`${optimizer}-one`, 1, options),
        await finish(`${optimizer}-two`, 2, options),
        await finish(`${optimizer}-again`, 2, { ...options, checkpointing: 0.5 }),
        await finish(`${optimizer}-dealt`, 2, { ...options, zeroGroup: 2 }),
      ];
      assert.equal(two.rows.length, base.steps);
      for (const [step, { loss }] of one.rows.entries()) {
        assert.ok(
          Math.abs(loss - two.rows[step]!.loss) <= 1e-6,
          `step ${step + 1}: ${loss} and ${two.rows[step]!.loss}`,
        );
      }
      const apart = distance(one.stateFile, two.stateFile);
      assert.ok(apart <= 1e-5, `weights and moments differ by ${apart}`);
      assert.equal(again.state, two.state, "two runs");
      assert.equal(again.metrics, two.metrics);
      assert.equal(dealt.state, two.state, "moments dealt out");
      const share = dealt.momentBytes / two.momentBytes;
      assert.ok(share > 0.35 && share < 0.65, `rank 0 keeps ${share} of the moments`);
    },
  );
}

test("four ranks in groups of two and four have the bits of four that share nothing", { skip }, async () => {
  const options = { ...base, steps: 6, optimizer: "muon" } as const;
  const [plain, pairs, all] = [
    await finish("four", 4, options),
    await finish("pairs", 4, { ...options, zeroGroup: 2 }),
    await finish("all", 4, { ...options, zeroGroup: 4 }),
  ];
  assert.equal(pairs.state, plain.state);
  assert.equal(all.state, plain.state);
});

test("ranks that are more than the batches of a step wait for the others", { skip }, async () => {
  const options = { ...base, steps: 4, accumulate: 1 };
  const [one, two] = [await finish("idle-one", 1, options), await finish("idle-two", 2, options)];
  assert.deepEqual(
    two.rows.map(({ loss }) => loss),
    one.rows.map(({ loss }) => loss),
  );
});

test("threads of a rank: the processors it is bound to, or its share of the machine's", () => {
  assert.equal(threadsOfRank(2, 2, 1), 2);
  assert.equal(threadsOfRank(2, 2, 2), 1);
  assert.equal(threadsOfRank(1, 2, 2), 1, "bound to a core each");
  assert.equal(threadsOfRank(8, 64, 4), 8, "bound to eight cores each");
  assert.equal(threadsOfRank(64, 64, 4), 16);
  assert.equal(threadsOfRank(4, 64, 32), 1, "fewer processors than ranks");
});
