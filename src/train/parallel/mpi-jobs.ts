// For tests: programs on the ranks of a real mpirun, where there is one.
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { RankProgram, RankProgramResult } from "./rank-program.ts";

/** Why there is no mpirun here; undefined where there is one. */
export const noMpi: string | undefined = (() => {
  const { error, status } = spawnSync("mpirun", ["--version"], { stdio: "ignore" });
  return error || status !== 0 ? "mpirun is not installed: `apt install openmpi-bin`" : undefined;
})();

export interface JobOutcome {
  /** 128 + signal where the starter was ended by one. */
  code: number;
  stdout: string;
  stderr: string;
  seconds: number;
}

/** Runs a command on so many ranks. */
export function runRanks(ranks: number, command: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<JobOutcome> {
  const started = performance.now();
  const start = ["--oversubscribe", "--bind-to", "none", "-n", String(ranks), ...command];
  const child = spawn("mpirun", start, {
    env: {
      ...process.env,
      // In a container the tests may be root.
      OMPI_ALLOW_RUN_AS_ROOT: "1",
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
      LIANLU_THREADS: "1",
      NODE_NO_WARNINGS: "1",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({
        code: code ?? (signal === null ? 1 : 137),
        stdout,
        stderr,
        seconds: (performance.now() - started) / 1000,
      });
    });
  });
}

const program = fileURLToPath(new URL("./rank-program.ts", import.meta.url));

/** Runs rank-program.ts; on one rank without mpirun. */
export async function runPrograms(
  ranks: number,
  programs: readonly RankProgram[],
  env: NodeJS.ProcessEnv = {},
): Promise<JobOutcome & { results: RankProgramResult[] }> {
  const command = [process.execPath, program, JSON.stringify(programs)];
  const outcome = ranks === 1 ? runAlone(command) : await runRanks(ranks, command, env);
  const lines = outcome.stdout.split("\n").filter((text) => text.startsWith("{"));
  return { ...outcome, results: lines.map((line) => JSON.parse(line) as RankProgramResult) };
}

function runAlone([executable, ...args]: readonly string[]): JobOutcome {
  const { status, stdout, stderr } = spawnSync(executable!, args, {
    encoding: "utf8",
    env: { ...process.env, LIANLU_THREADS: "1" },
  });
  return { code: status ?? 1, stdout, stderr, seconds: 0 };
}
