import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { defaultCacheDir } from "../../downloads/index.ts";
import { codeVersion } from "../../formats/manifest.ts";
import { machine } from "../../kernels/index.ts";
import { defineCommand } from "../command.ts";
import { formatBytes } from "../ui/table.ts";
import { pad, wrap } from "../ui/width.ts";

interface Finding {
  lianlu: string;
  platform: string;
  node: { version: string; path: string };
  processor: { model: string; cores: number; features: string[] };
  memory: { totalBytes: number; availableBytes: number };
  /** The first of $CXX, g++ and clang++ that answers, null where none does. */
  compiler: { command: string; version: string } | null;
  /** Null where the native core cannot be loaded; then `problem` says why. */
  kernels: { instructionSet: string; threads: number } | null;
  cache: { directory: string; writable: boolean };
  settings: Record<string, string>;
  problems: string[];
}

export default defineCommand({
  summary: "Say what this machine has, and what Lianlu will use of it.",
  usage: "lianlu doctor [--json]",
  examples: [
    { command: "lianlu doctor", help: "a page for people" },
    { command: "lianlu doctor --json", help: "one JSON line, good to attach to a report" },
  ],
  positionals: { min: 0, max: 0, help: "none" },
  options: {},
  async run({ print }) {
    const finding = await examine();
    print(describe(finding));
    return finding;
  },
});

async function examine(): Promise<Finding> {
  const problems: string[] = [];
  const processors = cpus();
  let native: ReturnType<typeof machine> | undefined;
  try {
    native = machine();
  } catch (error) {
    problems.push(`The native core cannot be loaded: ${error instanceof Error ? error.message : String(error)}`);
  }
  const compiler = await findCompiler();
  if (compiler === null) problems.push("No C++ compiler answers: install g++ or clang++, or name one in CXX.");
  const cache = { directory: defaultCacheDir(), writable: isWritable(defaultCacheDir()) };
  if (!cache.writable)
    problems.push(`The cache ${cache.directory} cannot be written: set LIANLU_CACHE to a directory that can.`);
  return {
    lianlu: codeVersion(),
    platform: `${process.platform} ${process.arch}`,
    node: { version: process.versions.node, path: process.execPath },
    processor: {
      model: processors[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      features: native?.features ?? [],
    },
    memory: { totalBytes: totalmem(), availableBytes: availableMemory() },
    compiler,
    kernels: native === undefined ? null : { instructionSet: native.isa, threads: native.threads },
    cache,
    settings: Object.fromEntries(
      Object.entries(process.env).flatMap(([name, value]) =>
        /^LIANLU_|^CXX$/.test(name) && value !== undefined ? [[name, value]] : [],
      ),
    ),
    problems,
  };
}

function describe({
  lianlu,
  platform,
  node,
  processor,
  memory,
  compiler,
  kernels,
  cache,
  settings,
  problems,
}: Finding): string {
  const rows: [string, string][] = [
    ["Lianlu", `${lianlu} on ${platform}`],
    ["Node", `${node.version} (${node.path})`],
    ["Processor", `${processor.model}, ${processor.cores} ${processor.cores === 1 ? "core" : "cores"}`],
    ["Reports", processor.features.join(" ") || "unknown"],
    ["Memory", `${formatBytes(memory.availableBytes)} available of ${formatBytes(memory.totalBytes)}`],
    ["Compiler", compiler === null ? "none" : `${compiler.command}: ${compiler.version}`],
    ["Cache", `${cache.directory}${cache.writable ? "" : " (not writable)"}`],
    [
      "Settings",
      Object.entries(settings)
        .map(([name, value]) => `${name}=${value}`)
        .join(" ") || "none in the environment",
    ],
    [
      "Will use",
      kernels === null
        ? "nothing: the native core is missing"
        : `the ${kernels.instructionSet} kernels on ${kernels.threads} ${kernels.threads === 1 ? "thread" : "threads"}`,
    ],
  ];
  const columns = process.stdout.columns ?? 100;
  const lines = rows.map(([name, text]) => `${pad(name, 10)}${wrap(text, columns, " ".repeat(10), columns - 10)}`);
  for (const problem of problems) lines.push(`Problem   ${wrap(problem, columns, " ".repeat(10), columns - 10)}`);
  if (problems.length === 0) lines.push("All is well.");
  return lines.join("\n");
}

/** Linux counts caches as free; elsewhere what the system calls free. */
function availableMemory(): number {
  try {
    const kibibytes = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
    return kibibytes === undefined ? freemem() : Number(kibibytes) * 1024;
  } catch {
    return freemem();
  }
}

async function findCompiler(): Promise<Finding["compiler"]> {
  const candidates = process.env.CXX ? [process.env.CXX] : ["g++", "clang++"];
  for (const command of candidates) {
    try {
      const { stdout } = await promisify(execFile)(command, ["--version"], { timeout: 10_000 });
      return { command, version: stdout.split("\n")[0]!.trim() };
    } catch {
      // Not there, or it does not run: the next one.
    }
  }
  return null;
}

/** Whether a directory, or what it would be made in, can be written. */
function isWritable(directory: string): boolean {
  let place = directory;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    accessSync(place, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
