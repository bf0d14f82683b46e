// A model in this thread: protocol's LanguageModel over a runner and a tokenizer. load.ts makes it from a directory.
import { randomBytes } from "node:crypto";
import {
  Failure,
  type GenerateEvent,
  type GenerateRequest,
  type LanguageModel,
  type ScoredText,
} from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { createAnswer } from "./answer.ts";
import { createQueue } from "./queue.ts";
import { createPreparer } from "./request.ts";
import type { Runner } from "./runner.ts";
import { createSampler } from "./sampler.ts";
import {
  cacheTokens,
  createScheduler,
  type SchedulerOptions,
  type SchedulerStatistics,
  type Task,
} from "./scheduler.ts";
import { scoringTask } from "./scoring.ts";

export interface EngineOptions extends SchedulerOptions {
  id: string;
  runner: Runner;
  tokenizer: Tokenizer;
  /** Longest sequence that the model takes. The engine's is shorter where the cache does not hold so many tokens. */
  maxPositions: number;
}

/** What the engine offers beside the interface, for tests and metrics. */
export interface Engine extends LanguageModel {
  statistics(): SchedulerStatistics;
}

/** Throws Failure("input") where the tokenizer knows more ids than the model. */
export function createEngine(options: EngineOptions): Engine {
  const { id, runner, tokenizer } = options;
  if (tokenizer.vocabSize > runner.vocabSize) {
    throw new Failure(
      "input",
      `The tokenizer has ${tokenizer.vocabSize} ids and the model ${runner.vocabSize}.`,
      "The tokenizer belongs to another model; restore the one the checkpoint was trained with.",
    );
  }
  const contextLength = Math.min(options.maxPositions, cacheTokens(runner));
  const scheduler = createScheduler(runner, options);
  const sampler = createSampler(runner.vocabSize);
  const prepare = createPreparer(tokenizer, contextLength);
  /** How to end each request that is under way. */
  const open = new Set<(error: unknown) => void>();
  let closed = false;

  function checkOpen(): void {
    if (closed) throw new Failure("environment", `The model ${id} is closed.`, "Load it again.");
  }

  async function* generate(request: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    checkOpen();
    request.signal?.throwIfAborted();
    const { promptIds, maxTokens, sampling, stop, guide, continuing } = prepare(request);
    const queue = createQueue<GenerateEvent>();
    const answer = createAnswer({
      tokenizer,
      guide,
      stop,
      maxTokens,
      continuing,
      promptTokens: promptIds.length,
      callId: () => `call_${randomBytes(12).toString("hex")}`,
      emit: (event) => queue.push(event),
    });
    const task: Task = {
      ids: promptIds,
      everyRow: false,
      onLogits(position, logits) {
        // Ids past the tokenizer's, which pad the model's matrices, stand for nothing.
        const known = logits.subarray(0, tokenizer.vocabSize);
        const candidates = guide.candidates(known, maxTokens - answer.tokens);
        const next = sampler.choose(known, sampling, position + 1, candidates);
        if (!answer.push(next)) return next;
        queue.close();
        return "done";
      },
      onFailure: (error) => queue.fail(error),
    };
    yield* follow(task, queue, request.signal);
  }

  /** Runs a task while its consumer listens; leaving early, aborting or closing the engine ends it within a step. */
  async function* follow<Value>(
    task: Task,
    queue: ReturnType<typeof createQueue<Value>>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Value, void, void> {
    const stopWith = (error: unknown): void => {
      scheduler.cancel(task);
      queue.fail(error);
    };
    const onAbort = (): void => stopWith(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    open.add(stopWith);
    scheduler.add(task);
    try {
      yield* queue;
    } finally {
      open.delete(stopWith);
      signal?.removeEventListener("abort", onAbort);
      scheduler.cancel(task);
    }
  }

  async function score(
    texts: readonly string[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<readonly ScoredText[]> {
    checkOpen();
    signal?.throwIfAborted();
    const results: ScoredText[] = [];
    const abandon = new AbortController();
    const either = signal ? AbortSignal.any([signal, abandon.signal]) : abandon.signal;
    const started = texts.map((text, index) => {
      const queue = createQueue<never>();
      const keep = (scored: ScoredText): void => {
        results[index] = scored;
        queue.close();
      };
      return { queue, task: scoringTask(tokenizer, text, contextLength, keep, (error) => queue.fail(error)) };
    });
    try {
      await Promise.all(started.map(({ task, queue }) => task && Array.fromAsync(follow(task, queue, either))));
    } finally {
      // Where one text failed the others are not worth their time.
      abandon.abort();
    }
    return results;
  }

  async function close(): Promise<void> {
    closed = true;
    for (const stopWith of open) stopWith(new Failure("environment", `The model ${id} was closed.`, "Load it again."));
  }

  return { id, contextLength, generate, score, close, statistics: scheduler.statistics };
}
