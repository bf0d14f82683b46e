// A model in this thread: protocol's ServedModel over a runner and a tokenizer. load.ts makes it from a directory.
import {
  Failure,
  type EmbedOptions,
  type Embeddings,
  type EngineStatistics,
  type GenerateEvent,
  type GenerateRequest,
  type ScoredText,
  type ScoreOptions,
  type ServedModel,
} from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Adapter, AdapterRegistry } from "./adapters.ts";
import { embeddingTask } from "./embedding.ts";
import { createGeneration } from "./generation.ts";
import { createQueue, type Queue } from "./queue.ts";
import { createPreparer, promptOf } from "./request.ts";
import type { Runner } from "./runner.ts";
import { createSampler } from "./sampler.ts";
import { cacheTokens, createScheduler, type SchedulerOptions } from "./scheduler.ts";
import { scoringTask } from "./scoring.ts";
import type { Task } from "./task.ts";

export interface EngineOptions extends SchedulerOptions {
  id: string;
  runner: Runner;
  tokenizer: Tokenizer;
  /** Longest sequence that the model takes. The engine's is shorter where the cache does not hold so many tokens. */
  maxPositions: number;
  /** Answers without a limit end here where the prompt is shorter. Default: at the longest sequence. */
  usualPositions?: number;
  /** Bytes of the model's weights, for the statistics. Default 0. */
  weightBytes?: number;
  /** The adapters that requests may name; without it there are none. */
  adapters?: AdapterRegistry;
}

/** Throws Failure("input") where the tokenizer knows more ids than the model. */
export function createEngine(options: EngineOptions): ServedModel {
  const { id, runner, tokenizer, adapters } = options;
  if (tokenizer.vocabSize > runner.vocabSize) {
    throw new Failure(
      "input",
      `The tokenizer has ${tokenizer.vocabSize} ids and the model ${runner.vocabSize}.`,
      "The tokenizer belongs to another model; restore the one the checkpoint was trained with.",
    );
  }
  const contextLength = Math.min(options.maxPositions, cacheTokens(runner));
  const scheduler = createScheduler(runner, options);
  const sampler = createSampler(runner.vocabSize, runner.kernels);
  const usualLength = Math.min(contextLength, options.usualPositions ?? contextLength);
  const prepare = createPreparer(tokenizer, contextLength, usualLength);
  /** How to end each request that is under way. */
  const open = new Set<(error: unknown) => void>();
  let closed = false;

  function checkOpen(signal: AbortSignal | undefined): void {
    if (closed) throw new Failure("environment", `The model ${id} is closed.`, "Load it again.");
    signal?.throwIfAborted();
  }

  function registry(): AdapterRegistry {
    if (adapters) return adapters;
    throw new Failure("usage", `The model ${id} takes no adapters.`, "Load it from a checkpoint.");
  }

  async function* generate(request: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    checkOpen(request.signal);
    const prepared = prepare(request);
    const { promptIds, maxTokens, priority } = prepared;
    const queue = createQueue<GenerateEvent>();
    let cachedTokens = 0;
    const generation = createGeneration({
      tokenizer,
      sampler,
      prepared,
      emit: (event) => queue.push(event),
      cachedTokens: () => cachedTokens,
    });
    using adapter = borrow(prepared.adapter);
    const task: Task = {
      ids: promptIds,
      maxLength: promptIds.length + maxTokens,
      priority,
      adapter: adapter?.adapter,
      output: "logits",
      rows: "last",
      drafts: generation.drafts,
      onStart(tokens) {
        cachedTokens = tokens;
      },
      onOutput(position, logits) {
        const next = generation.next(position, logits);
        if (next === "done") queue.close();
        return next;
      },
      onFailure: (error) => queue.fail(error),
    };
    yield* follow(task, queue, request.signal);
  }

  /** Holds an adapter until the request that names it has ended. */
  function borrow(name: string | undefined): (Disposable & { adapter: Adapter }) | undefined {
    return name === undefined ? undefined : registry().borrow(name);
  }

  /** Runs a task while its consumer listens; leaving early, aborting or closing the engine ends it within a step. */
  async function* follow<Value>(
    task: Task,
    queue: Queue<Value>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Value, void, void> {
    const stopWith = (error: unknown): void => {
      scheduler.cancel(task);
      queue.fail(error);
    };
    const onAbort = (): void => stopWith(signal?.reason);
    try {
      signal?.addEventListener("abort", onAbort, { once: true });
      open.add(stopWith);
      scheduler.add(task);
      yield* queue;
    } finally {
      open.delete(stopWith);
      signal?.removeEventListener("abort", onAbort);
      scheduler.cancel(task);
    }
  }

  /** One task for each text, all at once; where one fails the others are not worth their time. */
  async function runAll<Input, Result>(
    inputs: readonly Input[],
    signal: AbortSignal | undefined,
    makeTask: (
      input: Input,
      onResult: (result: Result) => void,
      onFailure: (error: unknown) => void,
    ) => Task | undefined,
  ): Promise<Result[]> {
    const results: Result[] = [];
    const abandon = new AbortController();
    const either = signal ? AbortSignal.any([signal, abandon.signal]) : abandon.signal;
    const started = inputs.map((input, index) => {
      const queue = createQueue<never>();
      const keep = (result: Result): void => {
        results[index] = result;
        queue.close();
      };
      return { queue, task: makeTask(input, keep, (error) => queue.fail(error)) };
    });
    try {
      await Promise.all(started.map(({ task, queue }) => task && Array.fromAsync(follow(task, queue, either))));
    } finally {
      abandon.abort();
    }
    return results;
  }

  async function score(
    texts: readonly (string | readonly number[])[],
    wanted: ScoreOptions = {},
  ): Promise<readonly ScoredText[]> {
    checkOpen(wanted.signal);
    using adapter = borrow(wanted.adapter);
    const shared = {
      tokenizer,
      contextLength,
      topLogprobs: wanted.topLogprobs ?? 0,
      adapter: adapter?.adapter,
    };
    return await runAll(texts, wanted.signal, (text, onResult: (scored: ScoredText) => void, onFailure) =>
      scoringTask({ ...shared, text, onResult, onFailure }),
    );
  }

  async function embed(texts: readonly (string | readonly number[])[], wanted: EmbedOptions = {}): Promise<Embeddings> {
    checkOpen(wanted.signal);
    using adapter = borrow(wanted.adapter);
    const shared = { tokenizer, contextLength, pooling: wanted.pooling ?? "last", adapter: adapter?.adapter };
    let promptTokens = 0;
    const vectors = await runAll(texts, wanted.signal, (text, onResult: (vector: Float32Array) => void, onFailure) => {
      const task = embeddingTask({ ...shared, text, onResult, onFailure });
      promptTokens += task.ids.length;
      return task;
    });
    return { vectors, promptTokens };
  }

  async function tokenize(
    input: string | Pick<GenerateRequest, "input" | "tools" | "toolChoice" | "templateOptions">,
  ): Promise<number[]> {
    return typeof input === "string" ? [...tokenizer.encode(input)] : promptOf(tokenizer, input);
  }

  async function detokenize(ids: readonly number[]): Promise<string> {
    const wrong = ids.find((each) => !Number.isSafeInteger(each) || each < 0 || each >= tokenizer.vocabSize);
    if (wrong === undefined) return tokenizer.decode(ids);
    throw new Failure("input", `${wrong} is no id; this model's are 0 to ${tokenizer.vocabSize - 1}.`);
  }

  async function statistics(): Promise<EngineStatistics> {
    return { ...scheduler.statistics(), weightBytes: options.weightBytes ?? 0, cacheBytes: runner.cacheBytes };
  }

  async function close(): Promise<void> {
    closed = true;
    for (const stopWith of open) stopWith(new Failure("environment", `The model ${id} was closed.`, "Load it again."));
  }

  return {
    id,
    contextLength,
    generate,
    score,
    embed,
    tokenize,
    detokenize,
    statistics,
    loadAdapter: async (name, directory) => registry().load(name, directory),
    unloadAdapter: async (name) => registry().unload(name),
    adapters: async () => adapters?.names() ?? [],
    close,
  };
}
