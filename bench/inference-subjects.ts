// The two that are timed at inference: Lianlu's engine and llama.cpp, each over the same file.
// llama.cpp comes from the npm package node-llama-cpp, which is no dependency of Lianlu and lies outside it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createRunner } from "../src/engine/runner.ts";
import { loadKernels, pageTokens, setThreads } from "../src/kernels/index.ts";
import { loadGguf } from "../src/model/index.ts";

export interface Subject {
  /** Runs a prompt from an empty cache; returns milliseconds. */
  prompt(ids: readonly number[]): Promise<number>;
  /** After a prompt, greedily makes `count` tokens; returns the milliseconds of all but the first. */
  decode(ids: readonly number[], count: number): Promise<number>;
}

/** Rows of a step of the engine's scheduler. */
const stepRows = 256;
/** Positions for which there is a cache. */
const positions = 1024;

export function openLianlu(path: string, threads: number): Subject {
  const kernels = loadKernels();
  const pages = positions / pageTokens;
  const runner = createRunner(kernels, loadGguf(path, kernels), pages);
  const pageTable = Int32Array.from({ length: pages }, (_, page) => page);

  /** Runs ids from a position on; returns the first choice after the last. */
  function step(ids: readonly number[], begin: number): number {
    let choice = 0;
    const rows = ids.length;
    runner.run(
      {
        ids: Int32Array.from(ids),
        positions: Int32Array.from({ length: rows }, (_, index) => begin + index),
        sequences: new Int32Array(rows),
        pageTable,
        maxPages: pages,
        wanted: Int32Array.of(rows - 1),
      },
      (_, logits) => {
        for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[choice]!) choice = i;
      },
    );
    return choice;
  }
  function prefill(ids: readonly number[]): number {
    let choice = 0;
    for (let begin = 0; begin < ids.length; begin += stepRows) choice = step(ids.slice(begin, begin + stepRows), begin);
    return choice;
  }
  return {
    async prompt(ids) {
      setThreads(threads);
      const started = performance.now();
      prefill(ids);
      return performance.now() - started;
    },
    async decode(ids, count) {
      setThreads(threads);
      let next = prefill(ids);
      const started = performance.now();
      for (let i = 1; i < count; i++) next = step([next], ids.length + i - 1);
      return performance.now() - started;
    },
  };
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

/** How to get the peer, for whoever has not got it. */
export const llamaCppMissing =
  "node-llama-cpp is missing: `npm install --prefix DIR node-llama-cpp@3`, and set LIANLU_PEERS=DIR.";

/** llama.cpp over a file, or undefined where the package is not installed. */
export async function openLlamaCpp(
  path: string,
  threads: number,
): Promise<{ version: string; subject: Subject; close(): Promise<void> } | undefined> {
  const modules = join(process.env["LIANLU_PEERS"] ?? ".", "node_modules");
  let library: LlamaCpp;
  let version: string;
  try {
    const found = createRequire(join(modules, "anchor.js")).resolve("node-llama-cpp");
    library = (await import(pathToFileURL(found).href)) as LlamaCpp;
    ({ version } = JSON.parse(readFileSync(join(modules, "node-llama-cpp", "package.json"), "utf8")) as {
      version: string;
    });
  } catch {
    return undefined;
  }
  // Never builds or fetches anything, and never uses a graphics card.
  const llama = await library.getLlama({ build: "never", gpu: false, maxThreads: threads, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize: positions, batchSize: 512, threads });
  const sequence = context.getSequence();
  const subject: Subject = {
    async prompt(ids) {
      await sequence.clearHistory();
      const started = performance.now();
      await sequence.evaluateWithoutGeneratingNewTokens(ids);
      return performance.now() - started;
    },
    async decode(ids, count) {
      await sequence.clearHistory();
      let started = 0;
      let made = 0;
      for await (const _ of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        if (++made === 1) started = performance.now();
        if (made === count) break;
      }
      return performance.now() - started;
    },
  };
  return { version, subject, close: () => llama.dispose() };
}
