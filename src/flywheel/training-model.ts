// The model that is being trained as one that answers: an engine over the trainer's own decoder, in the same thread and
// on the same weights. Nothing is copied but the key-value cache.
import { createEngine, createRunner, createSampler, createScheduler, type Task } from "../engine/index.ts";
import { pageTokens, type Kernels, type KvType } from "../kernels/index.ts";
import type { Decoder } from "../model/index.ts";
import { Failure, type ServedModel } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";

export interface TrainingModelOptions {
  /** Default "training". */
  id?: string;
  /** Longest prompt plus answer, in tokens. Default 2048, or what the model was made for where that is less. */
  maxContext?: number;
  /** How many of the longest sequences the cache holds; shorter ones run at once in larger numbers. Default 4. */
  sequences?: number;
  /** Numbers of the key-value cache. Default "f32": answers are then drawn by the probabilities that training computes. */
  kvCache?: KvType;
}

export interface SampleOptions {
  temperature: number;
  /** Of each answer, its stop token included. */
  maxTokens: number;
  /** One for each prompt: an answer is a function of the weights, its prompt and its seed. */
  seeds: readonly number[];
}

export interface SampledAnswer {
  /** What was drawn, with the stop token where there is one. */
  ids: number[];
  /** Whether the model ended its turn, rather than the limit. */
  ended: boolean;
}

export interface TrainingModel {
  /**
   * The model as its weights are now. What earlier weights have put into the cache is forgotten; models that were
   * handed out before must not be used any more.
   */
  current(): ServedModel;
  /** Draws one answer for each prompt from the weights of now, all at once. */
  sample(prompts: readonly (readonly number[])[], options: SampleOptions): Promise<SampledAnswer[]>;
}

/** Answers from a decoder whose layers are dense or frozen, with or without adapters beside them. */
export function trainingModel(
  kernels: Kernels,
  decoder: Decoder,
  tokenizer: Tokenizer,
  options: TrainingModelOptions = {},
): TrainingModel {
  const { config } = decoder;
  const { id = "training", sequences = 4, kvCache = "f32" } = options;
  const maxContext = Math.min(options.maxContext ?? 2048, config.maxPositions);
  const pages = sequences * Math.ceil(maxContext / pageTokens);
  // Made when the first answer is wanted; afterwards the memory is kept.
  let made: ReturnType<typeof createRunner> | undefined;
  const runner = (): ReturnType<typeof createRunner> => (made ??= createRunner(kernels, decoder, pages, { kvCache }));

  function current(): ServedModel {
    return createEngine({ id, runner: runner(), tokenizer, maxPositions: maxContext });
  }

  async function sample(
    prompts: readonly (readonly number[])[],
    { temperature, maxTokens, seeds }: SampleOptions,
  ): Promise<SampledAnswer[]> {
    const longest = prompts.reduce((most, { length }) => Math.max(most, length), 0);
    if (longest >= maxContext) {
      throw new Failure(
        "input",
        `A prompt has ${longest} tokens, and prompt and answer together may have ${maxContext}.`,
        "Shorten the prompt or allow a longer context.",
      );
    }
    const scheduler = createScheduler(runner());
    const sampler = createSampler(config.vocabSize, kernels);
    const choice = { temperature, topP: 1, topK: 0, minP: 0, typicalP: 1 };
    const tasks: Task[] = [];

    const answers = prompts.map(
      (prompt, index) =>
        new Promise<SampledAnswer>((resolve, reject) => {
          const ids: number[] = [];
          const seed = seeds[index]!;
          const limit = Math.min(maxTokens, maxContext - prompt.length);
          const task: Task = {
            ids: [...prompt],
            maxLength: prompt.length + limit,
            priority: 0,
            adapter: undefined,
            output: "logits",
            rows: "last",
            onOutput(position, logits) {
              // Ids past the tokenizer's, which pad the model's matrices, stand for nothing.
              const next = sampler.choose(logits.subarray(0, tokenizer.vocabSize), { ...choice, seed }, position + 1);
              ids.push(next);
              const ended = tokenizer.stopIds.includes(next);
              if (!ended && ids.length < limit) return next;
              resolve({ ids, ended });
              return "done";
            },
            onFailure: reject,
          };
          tasks.push(task);
          scheduler.add(task);
        }),
    );
    try {
      return await Promise.all(answers);
    } finally {
      for (const task of tasks) scheduler.cancel(task);
    }
  }

  return { current, sample };
}
