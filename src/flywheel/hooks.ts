// What looks at a model while it is trained: an evaluation chat, samples of text, and the tasks of the evaluation room,
// each every so many steps and on the weights of that step.
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { evaluate, type TaskSettings } from "../evaluate/index.ts";
import type { Kernels } from "../kernels/index.ts";
import type { Decoder } from "../model/index.ts";
import { collect, type GenerateRequest } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Hook } from "../train/index.ts";
import { trainingModel, type TrainingModel } from "./training-model.ts";

export interface HookSettings {
  /** Questions that the model answers as a chat. */
  chat?: { every: number; prompts: readonly string[]; system?: string; maxTokens?: number };
  /** Beginnings that the model goes on from. */
  sample?: { every: number; prompts: readonly string[]; maxTokens?: number };
  /** Tasks of `lianlu evaluate`, by name or path. */
  evaluate?: { every: number; tasks: readonly string[]; settings: TaskSettings };
}

/** A training run as hooks see it. */
export interface HookContext {
  kernels: Kernels;
  decoder: Decoder;
  tokenizer: Tokenizer;
  /** Where answers (samples.jsonl) and reports are kept. */
  directory: string;
}

const usualTokens = 128;
/** Answers are drawn the same way each time, so that they can be compared. */
const temperature = 0.7;
const seed = 1;

/** The hooks of a run; they share one engine over the decoder. */
export function trainingHooks(settings: HookSettings, context: HookContext): Hook[] {
  const { kernels, decoder, tokenizer, directory } = context;
  const model = trainingModel(kernels, decoder, tokenizer);
  const hooks: Hook[] = [];
  const { chat, sample, evaluate: evaluation } = settings;
  if (chat) {
    const system = chat.system === undefined ? [] : [{ role: "system" as const, content: chat.system }];
    const inputs = chat.prompts.map((prompt) => ({
      prompt,
      input: { messages: [...system, { role: "user" as const, content: prompt }] },
    }));
    hooks.push(answering("chat", model, directory, inputs, chat));
  }
  if (sample) {
    const inputs = sample.prompts.map((prompt) => ({ prompt, input: { prompt } }));
    hooks.push(answering("sample", model, directory, inputs, sample));
  }
  if (evaluation) hooks.push(evaluating(model, directory, evaluation));
  return hooks;
}

function answering(
  name: string,
  model: TrainingModel,
  directory: string,
  inputs: readonly { prompt: string; input: GenerateRequest["input"] }[],
  { every, maxTokens = usualTokens }: { every: number; maxTokens?: number },
): Hook {
  return {
    name,
    every,
    async *run({ step, signal }) {
      const current = model.current();
      // A model of few positions answers shortly.
      const most = Math.min(maxTokens, Math.ceil(current.contextLength / 2));
      for (const { prompt, input } of inputs) {
        const { text } = await collect(current.generate({ input, maxTokens: most, temperature, seed, signal }));
        appendFileSync(join(directory, "samples.jsonl"), `${JSON.stringify({ step, name, prompt, text })}\n`);
        yield { type: "note", text: `Step ${step}, ${name}: ${prompt} -> ${text}` };
      }
    },
  };
}

function evaluating(
  model: TrainingModel,
  directory: string,
  { every, tasks, settings }: NonNullable<HookSettings["evaluate"]>,
): Hook {
  return {
    name: "evaluate",
    every,
    async *run({ step, signal }) {
      const { tasks: reports } = yield* evaluate({
        model: model.current(),
        modelIdentity: `step ${step}`,
        tasks,
        settings,
        out: join(directory, `evaluation-${step}`),
        signal,
      });
      return Object.fromEntries(
        reports.flatMap(({ task, metrics }) =>
          metrics.map(({ metric, value }) => [`${task}/${metric.name}`, value] as const),
        ),
      );
    },
  };
}
