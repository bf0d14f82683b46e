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

/**
 * Runs a command on so many ranks. `onOutput` gets what rank 0 prints, and what ends the whole job: the starter and every
 * rank, as a power cut does.
 */
export function runRanks(
  ranks: number,
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv; onOutput?: (text: string, endAll: () => void) => void } = {},
): Promise<JobOutcome> {
  const started = performance.now();
  const start = ["--oversubscribe", "--bind-to", "none", "-n", String(ranks), ...command];
  const child = spawn("mpirun", start, {
    detached: true,
    env: {
      ...process.env,
      // In a container the tests may be root.
      OMPI_ALLOW_RUN_AS_ROOT: "1",
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
      LIANLU_THREADS: "1",
      NODE_NO_WARNINGS: "1",
      ...options.env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    options.onOutput?.(text, () => killAll(child.pid!));
  });
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

/** mpirun's ranks are its children, each the first of a group of its own. */
function killAll(starter: number): void {
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", String(starter)], { encoding: "utf8" });
  for (const pid of [...stdout.trim().split(/\s+/).map(Number), starter]) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

const program = fileURLToPath(new URL("./rank-program.ts", import.meta.url));

/** Runs rank-program.ts to its end, on one rank without mpirun. */
export async function runProgram(
  ranks: number,
  options: RankProgram,
  more: Parameters<typeof runRanks>[2] = {},
): Promise<JobOutcome & { result: RankProgramResult | undefined }> {
  const command = [process.execPath, program, JSON.stringify(options)];
  const outcome = ranks === 1 ? runAlone(command) : await runRanks(ranks, command, more);
  const line = outcome.stdout.split("\n").find((text) => text.startsWith("{"));
  return { ...outcome, result: line === undefined ? undefined : (JSON.parse(line) as RankProgramResult) };
}

function runAlone([executable, ...args]: readonly string[]): JobOutcome {
  const { status, stdout, stderr } = spawnSync(executable!, args, {
    encoding: "utf8",
    env: { ...process.env, LIANLU_THREADS: "1" },
  });
  return { code: status ?? 1, stdout, stderr, seconds: 0 };
}
