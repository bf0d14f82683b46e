// @ts-check
// Runs Node in the foreground as if it were this process: same terminal, same signals, same exit code.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { SetupError } from "./setup.mjs";

/** Node 24's early releases warn that running TypeScript is new; that is no news to the reader. */
const flags = ["--disable-warning=ExperimentalWarning"];

/**
 * @param {string} node
 * @param {string[]} args
 * @param {import("node:child_process").SpawnOptions} [options]
 * @returns {Promise<number>} the exit code, 128 + n when signal n ended it
 */
export function runNode(node, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, [...flags, ...args], { ...options, stdio: "inherit" });
    // The child decides what an interruption means; whoever started us may signal us alone.
    const forward = (/** @type {NodeJS.Signals} */ signal) => void child.kill(signal);
    process.on("SIGINT", forward).on("SIGTERM", forward).on("SIGUSR2", forward);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      process.off("SIGINT", forward).off("SIGTERM", forward).off("SIGUSR2", forward);
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/**
 * Ends this process with the code that `work` returns, or has set; a set-up that failed is one sentence and code 4.
 * @param {() => Promise<number | undefined>} work
 */
export async function exitWith(work) {
  try {
    const code = await work();
    if (code !== undefined) process.exitCode = code;
  } catch (error) {
    const told = error instanceof SetupError || (error instanceof Error && error.name === "SetupError");
    process.stderr.write(`${told ? `lianlu: ${error.message}` : error instanceof Error ? error.stack : error}\n`);
    process.exitCode = told ? 4 : 1;
  }
}
