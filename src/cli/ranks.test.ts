// The command line started by mpirun: the first rank speaks for all.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { noMpi, runRanks } from "../train/parallel/mpi-jobs.ts";

const lianlu = [process.execPath, fileURLToPath(new URL("./main.ts", import.meta.url))];

test("what is printed is printed once, and so is what is wrong", { skip: noMpi ?? false }, async () => {
  const version = await runRanks(2, [...lianlu, "--version"]);
  assert.match(version.stdout.trim(), /^\d+\.\d+\.\d+$/);
  assert.equal(version.code, 0);
  const wrong = await runRanks(2, [...lianlu, "pretrain", "tokens", "--stps", "5"]);
  assert.equal(wrong.code, 2);
  assert.equal(wrong.stderr.match(/there is no option --stps/g)?.length, 1, wrong.stderr);
});
