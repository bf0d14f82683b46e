import assert from "node:assert/strict";
import { test } from "node:test";
import { ranksOfEnvironment } from "./rank-environment.ts";

test("mpirun's and srun's words for a rank; a shell of an allocation is none", () => {
  assert.deepEqual(ranksOfEnvironment({}), { rank: 0, size: 1 });
  assert.deepEqual(ranksOfEnvironment({ OMPI_COMM_WORLD_RANK: "3", OMPI_COMM_WORLD_SIZE: "8" }), { rank: 3, size: 8 });
  assert.deepEqual(ranksOfEnvironment({ SLURM_PROCID: "1", SLURM_STEP_NUM_TASKS: "2" }), { rank: 1, size: 2 });
  assert.deepEqual(ranksOfEnvironment({ SLURM_PROCID: "0", SLURM_NTASKS: "16" }), { rank: 0, size: 1 });
});
