// Who is timed at inference, each over the same file: Lianlu's engine, llama.cpp's library through its C API, and
// node-llama-cpp. Both peers come from the npm package node-llama-cpp, which is no dependency of Lianlu: LIANLU_PEERS
// names the directory that it is installed in.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { load } from "../src/engine/index.ts";
import { setThreads } from "../src/kernels/index.ts";
import type { GenerateEvent, ServedModel } from "../src/protocol/index.ts";

export interface Subject {
  name: string;
  /** Milliseconds that a prompt takes, from an empty cache to the choice of the first token. */
  prompt(tokens: number): Promise<number>;
  /** After prompts of `from` tokens, `streams` sequences make `steps` more tokens each: the milliseconds of these. */
  decode(from: number, steps: number, streams: number): Promise<number>;
  close(): Promise<void>;
}

/** Longest sequence that is asked for, and how many at once. */
const context = 1024;
const mostStreams = 8;

/** Ids of a prompt; another `stream`, another prompt. */
export const promptIds = (tokens: number, stream = 0): number[] =>
  Array.from({ length: tokens }, (_, i) => 300 + (((i + 31 * stream) * 7919) % 31000));

/** Events of an answer that is as long as it may be, greedily. */
export function answer(model: ServedModel, ids: readonly number[], maxTokens: number): AsyncIterable<GenerateEvent> {
  return model.generate({ input: { promptIds: ids }, maxTokens, temperature: 0, ignoreEos: true, logprobs: 0 });
}

export async function openLianlu(path: string, threads: number): Promise<Subject> {
  // Without reuse of prefixes: each prompt is computed.
  const model = await load(path, { threads, prefixCache: false, maxContext: context });
  /** Milliseconds since `started` at each token. */
  async function times(ids: readonly number[], maxTokens: number): Promise<number[]> {
    const at: number[] = [];
    for await (const event of answer(model, ids, maxTokens)) {
      if (event.type === "text-delta") for (const _ of event.logprobs ?? []) at.push(performance.now());
    }
    return at;
  }
  return {
    name: "lianlu",
    async prompt(tokens) {
      setThreads(threads);
      const started = performance.now();
      const [first] = await times(promptIds(tokens), 1);
      return first! - started;
    },
    async decode(from, steps, streams) {
      setThreads(threads);
      const runs = Array.from({ length: streams }, (_, stream) => times(promptIds(from, stream), steps + 1));
      const all = await Promise.all(runs);
      // All prompts are read in the first steps; then the streams run together.
      return Math.max(...all.map((at) => at.at(-1)!)) - Math.max(...all.map(([first]) => first!));
    },
    close: () => model.close(),
  };
}

/** How to get the peers, for whoever has not got them. */
export const llamaCppMissing =
  "node-llama-cpp is missing: `npm install --prefix DIR node-llama-cpp@3`, and set LIANLU_PEERS=DIR.";

/** Where node-llama-cpp is, and its version; undefined where it is not. */
export function findLlamaCpp(): { version: string; entry: string; libraries: string } | undefined {
  const modules = join(process.env["LIANLU_PEERS"] ?? ".", "node_modules");
  const platform = `${process.platform === "darwin" ? "mac" : process.platform}-${process.arch}`;
  try {
    const require = createRequire(join(modules, "anchor.js"));
    const { version } = JSON.parse(readFileSync(join(modules, "node-llama-cpp", "package.json"), "utf8")) as {
      version: string;
    };
    const entry = require.resolve("node-llama-cpp");
    const binaries = dirname(dirname(require.resolve(`@node-llama-cpp/${platform}`)));
    return { version, entry, libraries: join(binaries, "bins", platform) };
  } catch {
    return undefined;
  }
}

/** llama.cpp's library, driven by a program of bench/peers that is compiled here; undefined where it is not installed. */
export async function openLibllama(path: string, threads: number, positions = context): Promise<Libllama | undefined> {
  const found = findLlamaCpp();
  if (!found) return undefined;
  const program = join(mkdtempSync(join(tmpdir(), "lianlu-libllama-")), "libllama");
  const source = join(import.meta.dirname, "peers", "libllama.cpp");
  execFileSync("g++", ["-O2", "-std=c++17", "-o", program, source, "-ldl"]);
  const child = spawn(program, [found.libraries, path, String(threads), String(positions), String(mostStreams)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, LD_LIBRARY_PATH: found.libraries },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  async function answerTo(command: string): Promise<string> {
    if (command !== "") child.stdin.write(`${command}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error(`libllama ended at "${command.slice(0, 40)}"`);
    return value;
  }
  await answerTo("");
  return {
    name: `libllama of node-llama-cpp ${found.version}`,
    prompt: async (tokens) => Number(await answerTo(`prompt ${tokens}`)),
    decode: async (from, steps, streams) => Number(await answerTo(`decode ${from} ${steps} ${streams}`)),
    async score(ids) {
      const numbers = (await answerTo(`score ${ids.length} ${ids.join(" ")}`)).trim().split(" ").map(Number);
      return ids.slice(1).map((_, i) => ({ best: numbers[2 * i]!, logprob: numbers[2 * i + 1]! }));
    },
    async close() {
      child.stdin.end();
      child.kill();
    },
  };
}

export interface Libllama extends Subject {
  /** For each token but the last: the likeliest next id, and the log-probability of the one that follows. */
  score(ids: readonly number[]): Promise<{ best: number; logprob: number }[]>;
}

/** The part of node-llama-cpp 3.x that is used. */
interface LlamaCpp {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<LlamaModel>; dispose(): Promise<void> }>;
}
interface LlamaModel {
  createContext(options: object): Promise<{ getSequence(): LlamaSequence }>;
}
interface LlamaSequence {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(ids: readonly number[]): Promise<void>;
  evaluate(ids: readonly number[], options: object): AsyncGenerator<number>;
}

/** node-llama-cpp's own layer over llama.cpp; undefined where it is not installed. */
export async function openNodeLlamaCpp(path: string, threads: number): Promise<Subject | undefined> {
  const found = findLlamaCpp();
  if (!found) return undefined;
  const library = (await import(pathToFileURL(found.entry).href)) as LlamaCpp;
  // Never builds or fetches anything, and never uses a graphics card.
  const llama = await library.getLlama({ build: "never", gpu: false, maxThreads: threads, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: path });
  const options = { contextSize: context, batchSize: 512, threads, sequences: mostStreams };
  const shared = await model.createContext(options);
  const sequences = Array.from({ length: mostStreams }, () => shared.getSequence());
  const evaluation = { temperature: 0, yieldEogToken: true };

  async function times(sequence: LlamaSequence, ids: readonly number[], count: number): Promise<number[]> {
    const at: number[] = [];
    for await (const _ of sequence.evaluate(ids, evaluation)) if (at.push(performance.now()) === count) break;
    return at;
  }
  return {
    name: `node-llama-cpp ${found.version}`,
    async prompt(tokens) {
      await sequences[0]!.clearHistory();
      const started = performance.now();
      await sequences[0]!.evaluateWithoutGeneratingNewTokens(promptIds(tokens));
      return performance.now() - started;
    },
    async decode(from, steps, streams) {
      const used = sequences.slice(0, streams);
      for (const sequence of used) await sequence.clearHistory();
      const all = await Promise.all(used.map((each, stream) => times(each, promptIds(from, stream), steps + 1)));
      return Math.max(...all.map((at) => at.at(-1)!)) - Math.max(...all.map(([first]) => first!));
    },
    close: () => llama.dispose(),
  };
}
