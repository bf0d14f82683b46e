// Two hundred random schedules over a real decoder: whatever arrives when, shares what, is guessed, preempted, cancelled or
// computed on however many threads, every request answers to the bit as it does alone.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { loadKernels, machine, setThreads, type KvType } from "../kernels/index.ts";
import { addLora, initializeDecoder, packedLinear, replaceLinears, saveAdapter } from "../model/index.ts";
import type { Decoder, DecoderConfig, Linear } from "../model/index.ts";
import type { GenerateEvent, GenerateRequest, ServedModel } from "../protocol/index.ts";
import { randomUniform } from "../tensor/index.ts";
import { createAdapterRegistry } from "./adapters.ts";
import { pagesFor } from "./cache.ts";
import { draftModel } from "./draft-model.ts";
import { createEngine } from "./engine.ts";
import { createRunner } from "./runner.ts";
import type { SchedulerOptions } from "./scheduler.ts";
import { promptLookup, type Speculator } from "./speculation.ts";
import { createTestTokenizer } from "./test-support.ts";

const schedules = 200;
const kernels = loadKernels();
const threadsBefore = machine().threads;
const directory = mkdtempSync(join(tmpdir(), "lianlu-schedules-"));
after(() => {
  setThreads(threadsBefore);
  rmSync(directory, { recursive: true });
});

const tokenizer = createTestTokenizer();
const config: DecoderConfig = {
  family: "internlm2",
  vocabSize: tokenizer.vocabSize,
  hiddenSize: 32,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  intermediateSize: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  // Longer sequences rotate with a base of their own, and share nothing with others of another planned length.
  maxPositions: 180,
  ropeScaling: { type: "dynamic", factor: 2 },
  slidingWindows: [0, 70],
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 2,
  initializerRange: 0.3,
};
const longest = 240;

function makeDecoder(layers: number): Decoder {
  const decoder = initializeDecoder(kernels, { ...config, layers }, 5);
  const pack = (layer: Linear): Linear =>
    packedLinear(layer.name, kernels.packWeight(layer.weight!.data, layer.outputs, layer.inputs));
  replaceLinears(decoder, pack);
  decoder.head = pack(decoder.head);
  return decoder;
}
const decoder = makeDecoder(2);
const draftDecoder = makeDecoder(1);
const adapters = createAdapterRegistry(kernels, decoder);
for (const [index, name] of ["poet", "clerk"].entries()) {
  const options = { rank: 2 + index, alpha: 8, targets: index === 0 ? ("all-linear" as const) : ["wqkv", "w2"] };
  const pairs = addLora(kernels, initializeDecoder(kernels, config, 5), options, 1 + index);
  for (const { b } of pairs) for (let at = 0; at < b.data.length; at++) b.data[at] = 0.2 * Math.sin(at + index);
  const path = mkdtempSync(join(directory, name));
  saveAdapter(path, pairs, options, "tiny");
  adapters.load(name, path);
}

/** Numbers of one stream: below(n) is an integer under n, pick takes one of some values. */
function randomNumbers(stream: number) {
  let count = 0;
  const below = (end: number): number => Math.floor(randomUniform(7, stream, count++) * end);
  const pick = <Value>(values: readonly Value[]): Value => values[below(values.length)]!;
  return { below, pick, chance: (share: number): boolean => randomUniform(7, stream, count++) < share };
}

type Job =
  | { kind: "generate"; request: GenerateRequest }
  | { kind: "score" | "embed"; ids: readonly number[]; adapter?: string };

/** What is asked for in all schedules: prompts that begin alike, of every kind. */
const jobs: Job[] = Array.from({ length: 70 }, (_, index) => {
  const { below, pick, chance } = randomNumbers(1000 + index);
  const text = below(4);
  const shared = Array.from(
    { length: pick([3, 40, 64, 100, 128, 150, 190]) },
    (_unused, at) => 9 + ((at * (3 + text) + text) % 97),
  );
  const ids = [...shared, ...Array.from({ length: 1 + below(12) }, () => 9 + below(250))];
  const adapter = chance(0.4) ? pick(["poet", "clerk"]) : undefined;
  const named = adapter === undefined ? {} : { adapter };
  const kind = pick([
    "score",
    "embed",
    "generate",
    "generate",
    "generate",
    "generate",
    "generate",
    "generate",
  ] as const);
  if (kind !== "generate") return { kind, ids, ...named };
  const request: GenerateRequest = {
    input: { promptIds: ids },
    maxTokens: 1 + below(30),
    seed: below(3),
    temperature: pick([0, 0.3, 1]),
    topP: pick([1, 0.9]),
    logprobs: 2,
    ...(chance(0.3) && { repetitionPenalty: 1.2, presencePenalty: 0.3 }),
    ...(chance(0.15) && { responseFormat: { type: "regex" as const, pattern: "[a-f]{2,6}(yes|no)" }, maxTokens: 20 }),
    ...named,
  };
  return { kind, request };
});

/** Everything that a job yields, without the figures that company may change. */
async function perform(model: ServedModel, job: Job, onEvent?: () => void): Promise<unknown> {
  if (job.kind === "generate") {
    const events: GenerateEvent[] = [];
    for await (const event of model.generate(job.request)) {
      if (event.type === "finish") delete event.usage.cachedTokens;
      events.push(event);
      onEvent?.();
    }
    return events;
  }
  const options = job.adapter === undefined ? {} : { adapter: job.adapter };
  if (job.kind === "score") return model.score([job.ids], { ...options, topLogprobs: 2 });
  const pooling = job.ids.length % 2 ? "mean" : "last";
  return (await model.embed([job.ids], { ...options, pooling })).vectors;
}

function makeModel(kvCache: KvType, pages: number, options: SchedulerOptions): ServedModel {
  const runner = createRunner(kernels, decoder, pages, { kvCache, adapters });
  return createEngine({ id: "tiny", runner, tokenizer, adapters, maxPositions: longest, ...options });
}

const alone = new Map<string, Promise<unknown>>();
/** What a job yields when nothing else has ever run. */
function expected(kvCache: KvType, index: number): Promise<unknown> {
  const key = `${kvCache} ${index}`;
  let result = alone.get(key);
  if (!result) {
    const model = makeModel(kvCache, pagesFor(longest), { prefixCache: false });
    alone.set(key, (result = perform(model, jobs[index]!)));
  }
  return result;
}

test("any schedule gives each request what it gets alone", async () => {
  let preemptions = 0;
  let cachedTokens = 0;
  let acceptedTokens = 0;
  let cancelled = 0;
  for (let schedule = 0; schedule < schedules; schedule++) {
    const { below, pick, chance } = randomNumbers(schedule);
    const kvCache = pick<KvType>(["f32", "f16", "f16", "bf16", "int8", "int4"]);
    const pages = pagesFor(longest) + pick([0, 1, 3, 8, 30]);
    const speculator = pick<(() => Speculator) | undefined>([
      undefined,
      promptLookup,
      () =>
        draftModel(
          createRunner(kernels, pick([draftDecoder, decoder]), pages, { kvCache }),
          config.maxPositions,
          config.vocabSize,
        ),
    ])?.();
    setThreads(pick([1, 1, 2, 3]));
    const model = makeModel(kvCache, pages, {
      stepRows: pick([1, 5, 17, 64, 256]),
      maxSequences: pick([1, 3, 8, 64]),
      prefixCache: chance(0.85),
      ...(speculator && { speculator }),
    });
    await Promise.all(
      Array.from({ length: 3 + below(8) }, async () => {
        const index = below(jobs.length);
        const job = jobs[index]!;
        const leaveAfter = chance(0.15) ? below(6) : Infinity;
        const priority = pick([0, 0, 0, 1, -1]);
        for (let turns = pick([0, 0, 1, 5, 20]); turns > 0; turns--) await nextTurn();
        const where = `schedule ${schedule}, job ${index}, cache ${kvCache}`;
        if (job.kind !== "generate") {
          assert.deepEqual(await perform(model, job), await expected(kvCache, index), where);
          return;
        }
        const controller = new AbortController();
        let events = 0;
        const onEvent = (): void => {
          if (++events > leaveAfter) controller.abort();
        };
        const request = { ...job.request, priority, signal: controller.signal };
        try {
          const answer = await perform(model, { ...job, request }, onEvent);
          assert.deepEqual(answer, await expected(kvCache, index), where);
        } catch (error) {
          if (!controller.signal.aborted) throw error;
          cancelled += 1;
        }
      }),
    );
    const figures = await model.statistics();
    assert.deepEqual([figures.running, figures.waiting], [0, 0]);
    assert.equal(figures.pagesFree + figures.pagesCached, pages, `schedule ${schedule} lost pages`);
    preemptions += figures.preemptions;
    cachedTokens += figures.cachedTokens;
    acceptedTokens += figures.acceptedTokens;
  }
  assert.ok(
    preemptions > 50 && cachedTokens > 5000 && acceptedTokens > 200 && cancelled > 20,
    `${preemptions} preemptions, ${cachedTokens} cached, ${acceptedTokens} accepted, ${cancelled} cancelled`,
  );
});
