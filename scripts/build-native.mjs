// @ts-check
// Compiles native/ into build/native/lianlu.node with the machine's own C++ compiler; only what changed, by content.
// A file in namespace lianlu::LIANLU_ISA is compiled once per instruction set, others once for the lowest processor.
// Usage: node scripts/build-native.mjs
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.mjs";
import { exitWith } from "./node-process.mjs";
import { SetupError, root } from "./setup.mjs";

const sourceDirectory = join(root, "native");
const buildDirectory = join(root, "build", "native");
const objectDirectory = join(buildDirectory, "objects");
const moduleFile = join(buildDirectory, "lianlu.node");
const stampFile = join(buildDirectory, "lianlu.sha256");

const commonFlags = [
  "-std=c++20",
  "-O3",
  "-fPIC",
  "-pthread",
  "-fvisibility=hidden",
  // A product and a sum become one rounding only where the source says so; nothing else changes a value.
  "-ffp-contract=off",
  "-fno-math-errno",
  `-I${join(root, "node_modules", "node-api-headers", "include")}`,
];

/** @type {Record<string, string[]>} */
const x64Sets = {
  plain: [],
  avx2: ["-mavx2", "-mfma", "-mf16c"],
  avx512: [
    "-mavx2",
    "-mfma",
    "-mf16c",
    "-mavx512f",
    "-mavx512bw",
    "-mavx512dq",
    "-mavx512vl",
    "-mavx512vnni",
    "-mprefer-vector-width=512",
  ],
};

/** Instruction sets of this processor family and the flags that allow them. @returns {Record<string, string[]>} */
function instructionSets() {
  if (process.arch === "x64") return x64Sets;
  return process.arch === "arm64" ? { plain: ["-DLIANLU_PLAIN"], neon: [] } : { plain: [] };
}
/**
 * @typedef {{ source: string, label: string, flags: string[], object: string }} Unit
 */

/**
 * Makes sure that build/native/lianlu.node matches the sources. A few milliseconds when it does.
 * @param {{ say?: (text: string) => void }} [options]
 * @returns {Promise<string>} the path of the module
 */
export async function buildNative({ say = (text) => process.stderr.write(`${text}\n`) } = {}) {
  const units = listUnits();
  const wanted = digest(units.map((unit) => unit.object).join("\n") + linkFlags().join(" "));
  if (isBuilt(wanted)) return moduleFile;
  const wait = (/** @type {number} */ pid) => say(`Another build (process ${pid}) is at work; waiting for it.`);
  mkdirSync(objectDirectory, { recursive: true });
  await withLock(
    join(root, "build", "native.lock"),
    async () => {
      if (!isBuilt(wanted)) await build(units, wanted, say);
    },
    wait,
  );
  return moduleFile;
}

/** @param {string} wanted */
function isBuilt(wanted) {
  return existsSync(moduleFile) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === wanted;
}

/** @returns {Unit[]} */
function listUnits() {
  const names = readdirSync(sourceDirectory).sort();
  return names
    .filter((name) => name.endsWith(".cpp"))
    .flatMap((name) => {
      const source = join(sourceDirectory, name);
      const text = readFileSync(source, "utf8");
      const sources = [...withIncluded(name, new Map()).values()];
      const unit = (/** @type {string} */ isa, /** @type {string[]} */ extra) => {
        const label = isa === "" ? basename(name, ".cpp") : `${basename(name, ".cpp")}-${isa}`;
        const flags = [...commonFlags, ...extra];
        const key = digest([process.env.CXX ?? "", ...flags, ...sources].join("\0"));
        return { source, label, flags, object: join(objectDirectory, `${label}-${key.slice(0, 16)}.o`) };
      };
      if (!text.includes("namespace lianlu::LIANLU_ISA")) return [unit("", [])];
      return Object.entries(instructionSets()).map(([isa, flags]) => unit(isa, [`-DLIANLU_ISA=${isa}`, ...flags]));
    });
}

/**
 * The text of a file and of all that it includes from native/.
 * @param {string} name
 * @param {Map<string, string>} texts
 */
function withIncluded(name, texts) {
  if (texts.has(name)) return texts;
  const text = readFileSync(join(sourceDirectory, name), "utf8");
  texts.set(name, text);
  for (const [, included] of text.matchAll(/^#include "([^"]+)"/gm))
    withIncluded(/** @type {string} */ (included), texts);
  return texts;
}

function linkFlags() {
  return process.platform === "darwin" ? ["-bundle", "-undefined", "dynamic_lookup"] : ["-shared", "-pthread", "-ldl"];
}

/**
 * @param {Unit[]} units
 * @param {string} wanted
 * @param {(text: string) => void} say
 */
async function build(units, wanted, say) {
  const compiler = await findCompiler();
  if (!existsSync(join(root, "node_modules", "node-api-headers", "include", "node_api.h")))
    throw new SetupError("The package node-api-headers is missing: run `npm run setup`, which installs it.");
  const started = Date.now();
  const pending = units.filter((unit) => !existsSync(unit.object));
  say(`Compiling the native core (${pending.length} of ${units.length} files) with ${compiler} ...`);
  const jobs = Array.from({ length: Math.max(2, availableParallelism()) }, async () => {
    for (let unit = pending.shift(); unit !== undefined; unit = pending.shift()) {
      const partial = `${unit.object}.partial`;
      await run(compiler, [...unit.flags, "-c", unit.source, "-o", partial]);
      renameSync(partial, unit.object);
    }
  });
  await Promise.all(jobs);
  // Renamed into place: a process that has the old module open keeps it.
  const partial = `${moduleFile}.partial`;
  await run(compiler, ["-o", partial, ...units.map((unit) => unit.object), ...linkFlags()]);
  renameSync(partial, moduleFile);
  writeFileSync(stampFile, wanted);
  removeOldObjects(units);
  say(`Compiled the native core in ${((Date.now() - started) / 1000).toFixed(1)} s.`);
}

/** @param {Unit[]} units */
function removeOldObjects(units) {
  const current = new Set(units.map((unit) => basename(unit.object)));
  for (const name of readdirSync(objectDirectory)) if (!current.has(name)) rmSync(join(objectDirectory, name));
}

/** The first of $CXX, g++, clang++ that answers. */
async function findCompiler() {
  const candidates = process.env.CXX ? [process.env.CXX] : ["g++", "clang++"];
  for (const candidate of candidates) {
    try {
      await run(candidate, ["--version"]);
      return candidate;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    }
  }
  const install =
    process.platform === "darwin"
      ? "run `xcode-select --install`"
      : "install one, for example with `apt install g++` (Debian, Ubuntu) or `dnf install gcc-c++` (Fedora)";
  throw new SetupError(
    `Lianlu's native core needs a C++20 compiler and found no ${candidates.join(" or ")}: ${install}, then run the same command again.`,
  );
}

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<void>}
 */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (piece) => (output += piece));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else reject(new SetupError(`${command} failed (${signal ?? code}) on ${args.at(-3) ?? ""}:\n${output.trim()}`));
    });
  });
}

/** @param {string} text */
function digest(text) {
  return createHash("sha256").update(text).digest("hex");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await exitWith(async () => {
    await buildNative();
    return 0;
  });
}
