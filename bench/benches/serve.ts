// Serving beside llama.cpp: prompts, one stream and eight, over the same files, in turns. Then what a server's users feel:
// the first token of a long prompt while others decode, and of a prefix that was read before.
// The 1.1 B files are TinyLlama's where LIANLU_TINYLLAMA names its GGUF file, else of its shape with random weights.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { load } from "../../src/engine/index.ts";
import { openGguf } from "../../src/formats/index.ts";
import { measurePeak, setThreads } from "../../src/kernels/index.ts";
import { quantizeFile } from "../quantized-file.ts";
import type { ServedModel } from "../../src/protocol/index.ts";
import { defineBench, median, row, takeTurns, type Row } from "../harness.ts";
import {
  answer,
  llamaCppMissing,
  openLianlu,
  openLibllama,
  openNodeLlamaCpp,
  promptIds,
  type Subject,
} from "../inference-subjects.ts";
import { shapes, writeRandomModel } from "../random-model.ts";

const turns = 3;
const promptTokens = 512;
/** Decoding starts after a short prompt, so that it reads weights and hardly any cache. */
const decodeFrom = 16;
const decodeTokens = 128;
const manyStreams = 8;
/** Threads of either may spin for a while after their work; they must not spin into the other's. */
const restMs = 200;
const longPrompt = 2048;
const followers = 32;

export default defineBench({
  async *rows({ threads, wants, note }) {
    const directory = mkdtempSync(join(tmpdir(), "lianlu-bench-"));
    const source = process.env["LIANLU_TINYLLAMA"];
    if (source === undefined)
      note("LIANLU_TINYLLAMA names no GGUF file: random weights stand in, as fast as real ones.");
    try {
      for (const size of ["1.1B", "15M"] as const) {
        const own = size === "1.1B" && source !== undefined;
        for (const scheme of own ? (["q8_0", "q4_0", "as it is"] as const) : (["q8_0", "q4_0"] as const)) {
          const name = (kind: string): string => `serve ${size} ${scheme} ${kind}`;
          const kinds = ["prompt", "decode", "8 streams", "busy", "prefix"];
          if (!kinds.some((kind) => wants(name(kind)))) continue;
          let path = join(directory, "model.gguf");
          if (scheme === "as it is") path = source!;
          else if (own) quantizeFile(source, path, scheme);
          else writeRandomModel(path, shapes[size], scheme);
          for (const count of threads) {
            yield* besidePeers(path, count, name, wants, note);
            if (size === "1.1B" && count === Math.max(...threads)) yield* underLoad(path, count, name, wants);
          }
          if (path !== source) rmSync(path);
        }
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

async function* besidePeers(
  path: string,
  threads: number,
  name: (kind: string) => string,
  wants: (name: string) => boolean,
  note: (text: string) => void,
): AsyncGenerator<Row> {
  const measurements = [
    { kind: `prompt ${promptTokens}`, tokens: promptTokens, run: (subject: Subject) => subject.prompt(promptTokens) },
    {
      kind: `decode ${decodeTokens}`,
      tokens: decodeTokens,
      run: (subject: Subject) => subject.decode(decodeFrom, decodeTokens, 1),
    },
    {
      kind: `${manyStreams} streams decode`,
      tokens: manyStreams * 64,
      run: (subject: Subject) => subject.decode(decodeFrom, 64, manyStreams),
    },
  ].filter(({ kind }) => wants(name(kind)));
  if (measurements.length === 0) return;
  const own = await openLianlu(path, threads);
  const peers = [await openLibllama(path, threads), await openNodeLlamaCpp(path, threads)].filter((peer) => !!peer);
  if (peers.length === 0) note(llamaCppMissing);
  const subjects = [own, ...peers];
  for (const { kind, tokens, run } of measurements) {
    const turn = subjects.map((subject) => async () => {
      const ms = await run(subject);
      await sleep(restMs);
      return ms;
    });
    await takeTurns(turn, 1);
    const times = await takeTurns(turn, turns);
    const perSecond = (ms: number): number => (tokens * 1000) / ms;
    // A stream reads all weights once a token: memory sets its limit.
    const limit = kind.startsWith("decode") ? bandwidthLimit(weightBytes(path), threads) : null;
    for (const [index, peer] of peers.entries()) {
      yield row(name(kind), threads, perSecond(times[0]!), "tokens/s", {
        peer: peer.name,
        peerValue: perSecond(times[index + 1]!),
        limit,
      });
    }
    if (peers.length === 0) yield row(name(kind), threads, perSecond(times[0]!), "tokens/s", { limit });
  }
  for (const subject of subjects) await subject.close();
}

/** Tokens a second that reading every weight once a token allows. */
function bandwidthLimit(bytes: number, threads: number): number {
  return (measurePeak("memory", threads) * 1e9) / bytes;
}

/** Bytes of the matrices that each token is multiplied with: all but the embedding's. */
function weightBytes(path: string): number {
  const file = openGguf(path);
  try {
    return [...file.tensors].reduce(
      (sum, [name, { begin, end }]) => sum + (name === "token_embd.weight" ? 0 : end - begin),
      0,
    );
  } finally {
    file.close();
  }
}

/** Milliseconds until the first token. */
async function firstToken(model: ServedModel, ids: readonly number[]): Promise<number> {
  const started = performance.now();
  for await (const event of answer(model, ids, 1)) if (event.type === "text-delta") break;
  return performance.now() - started;
}

/** Streams that decode until `stop`; returns the milliseconds between their tokens. */
async function gapsUntil(model: ServedModel, stop: AbortSignal, onStarted: () => void): Promise<number[]> {
  const gaps: number[] = [];
  let started = 0;
  async function run(stream: number): Promise<void> {
    let last: number | undefined;
    try {
      for await (const event of model.generate({
        input: { promptIds: promptIds(decodeFrom, stream + 100) },
        maxTokens: 1500,
        temperature: 0,
        ignoreEos: true,
        logprobs: 0,
        signal: stop,
      })) {
        if (event.type !== "text-delta" || !event.logprobs?.length) continue;
        const now = performance.now();
        if (last === undefined) started += 1;
        else if (started === manyStreams) gaps.push(now - last);
        last = now;
        if (started === manyStreams) onStarted();
      }
    } catch (error) {
      if (!stop.aborted) throw error;
    }
  }
  await Promise.all(Array.from({ length: manyStreams }, (_, stream) => run(stream)));
  return gaps;
}

const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!;

/** Streams with and without a long prompt that arrives among them, in turns. */
async function* underLoad(
  path: string,
  threads: number,
  name: (kind: string) => string,
  wants: (name: string) => boolean,
): AsyncGenerator<Row> {
  setThreads(threads);
  if (wants(name("busy"))) {
    const model = await load(path, { threads, prefixCache: false });
    const prompt = promptIds(Math.min(longPrompt, model.contextLength - 1), 7);
    const alone: number[] = [];
    const among: number[] = [];
    const quietGaps: number[] = [];
    const busyGaps: number[] = [];
    for (let turn = 0; turn < 3; turn++) {
      alone.push(await firstToken(model, prompt));
      const quiet = new AbortController();
      quietGaps.push(
        percentile(await gapsUntil(model, quiet.signal, () => setTimeout(() => quiet.abort(), 4000)), 0.99),
      );
      const busy = new AbortController();
      const ready = Promise.withResolvers<void>();
      const gaps = gapsUntil(model, busy.signal, ready.resolve);
      await ready.promise;
      among.push(await firstToken(model, prompt));
      busy.abort();
      busyGaps.push(percentile(await gaps, 0.99));
    }
    await model.close();
    const beside = (values: readonly number[]) => ({ peer: "unloaded", peerValue: median(values) });
    yield row(name(`busy: first token of ${prompt.length}`), threads, median(among), "ms", beside(alone));
    yield row(name("busy: 99% of the streams' gaps below"), threads, median(busyGaps), "ms", beside(quietGaps));
  }
  if (wants(name("prefix"))) {
    const times: Record<"with" | "without", { oneByOne: number; atOnce: number }> = {} as never;
    for (const kind of ["without", "with"] as const) {
      const model = await load(path, { threads, prefixCache: kind === "with" });
      const prefix = promptIds(Math.min(longPrompt, model.contextLength) - 32, 11);
      const request = (index: number): number[] => [...prefix, ...promptIds(8, 200 + index)];
      // Without the cache every request costs the same: a few are enough.
      const count = kind === "with" ? followers : 3;
      const single: number[] = [];
      await firstToken(model, request(1000));
      for (let index = 0; index < count; index++) single.push(await firstToken(model, request(index)));
      await model.close();
      const cold = await load(path, { threads, prefixCache: kind === "with" });
      const together = await Promise.all(
        Array.from({ length: followers }, (_, i) => firstToken(cold, request(2000 + i))),
      );
      await cold.close();
      times[kind] = { oneByOne: median(single), atOnce: median(together) };
    }
    for (const [kind, text] of [
      ["oneByOne", "one by one"],
      ["atOnce", `${followers} at once, cold`],
    ] as const) {
      yield row(name(`prefix: first token, ${text}`), threads, times.with[kind], "ms", {
        peer: "without reuse",
        peerValue: times.without[kind],
      });
    }
  }
}
