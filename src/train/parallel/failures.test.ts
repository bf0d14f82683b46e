// Ranks that are killed, fail, hang or are asked to stop: the job ends in bounded time with the name of the rank, and
// goes on from its snapshot, on as many ranks or on others.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { noMpi, runPrograms, type JobOutcome } from "./mpi-jobs.ts";
import type { RankProgram } from "./rank-program.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-rank-failures-"));
after(() => rmSync(folder, { recursive: true }));

const skip = noMpi ?? false;
const steps = 40;
const base = { steps, accumulate: 4, optimizer: "muon", snapshotEvery: 4, zeroGroup: 2 } as const;
const at = (name: string): string => join(folder, name);

/** Of all that a finished run leaves. */
function fingerprint(stateFile: string | undefined, name: string): string[] {
  return [stateFile!, join(at(name), "metrics.jsonl")].map((path) =>
    createHash("sha256").update(readFileSync(path)).digest("hex"),
  );
}

function run(name: string, ranks: number, more: Partial<RankProgram> = {}, env: NodeJS.ProcessEnv = {}) {
  return runPrograms(ranks, [{ ...base, workDirectory: at(name), ...more }], env);
}

function lastStep({ stdout }: JobOutcome): number {
  return Number([...stdout.matchAll(/^step (\d+)$/gm)].at(-1)?.[1] ?? 0);
}

test("killed with all its ranks at five steps and taken up again: the same bytes at the end", { skip }, async () => {
  const whole = await run("whole", 2);
  assert.equal(whole.code, 0, whole.stderr);
  const killAt = [3, 11, 18, 26, 33];
  for (const step of killAt) {
    const killed = await run("killed", 2, { failure: { rank: step % 2, step, how: "kill all" } });
    assert.equal(killed.code, 137);
    assert.deepEqual(killed.results, []);
  }
  const last = await run("killed", 2);
  assert.equal(last.code, 0, last.stderr);
  const [first] = [...last.stdout.matchAll(/^step (\d+)$/gm)].map(([, step]) => Number(step));
  assert.ok(first! > killAt[3]! && first! <= killAt[4]! + 1, `it went on from a snapshot, at step ${first}`);
  assert.deepEqual(
    fingerprint(last.results[0]?.stateFile, "killed"),
    fingerprint(whole.results[0]?.stateFile, "whole"),
  );
});

test("a rank asked to stop stops all, and one rank and four go on from there", { skip }, async () => {
  const stopped = await run("moved", 2, { failure: { rank: 1, step: 9, how: "stop" } });
  assert.equal(stopped.code, 130, stopped.stderr);
  assert.equal(lastStep(stopped), 9);
  const alone = await run("moved", 1, { zeroGroup: 1, failure: { rank: 0, step: 21, how: "stop" } });
  assert.equal(lastStep(alone), 21, alone.stderr);
  const four = await run("moved", 4, { zeroGroup: 4 });
  assert.equal(four.code, 0, four.stderr);
  const rows = readFileSync(join(at("moved"), "metrics.jsonl"), "utf8")
    .trim()
    .split("\n");
  assert.deepEqual(
    rows.map((row) => (JSON.parse(row) as { step: number }).step),
    Array.from({ length: steps }, (_, index) => index + 1),
  );
});

test("an error of one rank ends the job with its name, a killed rank ends it", { skip }, async () => {
  const failed = await run("failed", 2, { failure: { rank: 1, step: 5, how: "throw" } });
  assert.notEqual(failed.code, 0);
  assert.match(failed.stderr, /rank 1 of 2 \(host \S+, process \d+\) ends the job after step 4: Error: made to fail/);
  const killed = await run("dead", 2, { failure: { rank: 1, step: 5, how: "kill" } });
  assert.notEqual(killed.code, 0);
  assert.match(killed.stderr, /rank 1 .*exited on signal 9/);
});

test("a rank that hangs is given up and named", { skip }, async () => {
  const hung = await run("hung", 2, { failure: { rank: 1, step: 5, how: "hang" } }, { LIANLU_MPI_TIMEOUT: "1" });
  assert.notEqual(hung.code, 0);
  assert.match(
    hung.stderr,
    /rank 0 of 2 .* ends the job after step 5: .*no word from rank 1 \(host \S+, process \d+\)/,
  );
});
