// @ts-check
// Open MPI for the tests of several ranks, where a machine of continuous integration lets it be installed. Lianlu runs
// without it: whatever goes wrong here is one sentence, and never an error.
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** For all of it; a package server that does not answer must not hold a set-up up. */
const limitMs = 240_000;
const packageName = "openmpi-bin";

/**
 * Installs Open MPI by apt-get if it is wanted (CI=true or LIANLU_SETUP_MPI=1), missing, and may be installed here. Tried
 * once: `stamp` is a file that remembers.
 * @param {{ stamp: string, say: (text: string) => void, environment?: NodeJS.ProcessEnv, user?: number | undefined }} options
 * @returns {Promise<"not wanted" | "there" | "tried before" | "installed" | "failed">}
 */
export async function setupMpi({ stamp, say, environment = process.env, user = process.getuid?.() }) {
  const wanted = environment.LIANLU_SETUP_MPI ?? (environment.CI === "true" ? "1" : "0");
  if (wanted !== "1" || process.platform !== "linux") return "not wanted";
  if (find("mpirun", environment)) return "there";
  if (existsSync(stamp)) return "tried before";
  const outcome = await install(say, environment, user);
  say(
    outcome === undefined
      ? "Installed Open MPI."
      : `Open MPI is not installed: ${outcome}. The tests of several ranks are skipped.`,
  );
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, `${outcome ?? "installed"}\n`);
  return outcome === undefined ? "installed" : "failed";
}

/**
 * @param {(text: string) => void} say
 * @param {NodeJS.ProcessEnv} environment
 * @param {number | undefined} user
 * @returns {Promise<string | undefined>} why not
 */
async function install(say, environment, user) {
  if (!find("apt-get", environment)) return "there is no apt-get here";
  const deadline = Date.now() + limitMs;
  const run = (/** @type {string[]} */ ...command) => finished(command, environment, deadline - Date.now());
  const before = user === 0 ? [] : ["sudo", "-n"];
  if (user !== 0 && (!find("sudo", environment) || (await run("sudo", "-n", "true")) !== undefined)) {
    return "that takes root, or sudo without a password";
  }
  say(`Installing Open MPI (${packageName}) by apt-get ...`);
  const installIt = () => run(...before, "apt-get", "install", "-y", "-q", "--no-install-recommends", packageName);
  if ((await installIt()) === undefined) return undefined;
  // The lists of a fresh container are empty.
  const update = await run(...before, "apt-get", "update", "-q");
  const problem = await installIt();
  return problem === undefined ? undefined : (update ?? problem);
}

/**
 * @param {string[]} command
 * @param {NodeJS.ProcessEnv} environment
 * @param {number} timeMs
 * @returns {Promise<string | undefined>} the last that it said, if it failed
 */
function finished([executable, ...args], environment, timeMs) {
  return new Promise((resolve) => {
    if (timeMs <= 0) return resolve("it took too long");
    const child = spawn(/** @type {string} */ (executable), args, {
      env: { ...environment, DEBIAN_FRONTEND: "noninteractive" },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: timeMs,
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (output += piece));
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(undefined);
      if (signal !== null) return resolve("it took too long");
      resolve(output.trim().split("\n").at(-1) || `${executable} ended with ${code}`);
    });
  });
}

/** Whether a command is on the PATH. @param {string} name @param {NodeJS.ProcessEnv} environment */
function find(name, environment) {
  return (environment.PATH ?? "").split(":").some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return directory !== "";
    } catch {
      return false;
    }
  });
}
