import { evaluate, formatReport, type TaskSettings } from "../../evaluate/index.ts";
import { hashInput } from "../../formats/manifest.ts";
import { runJob } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";
import { openModel, type OpenedModel } from "../open-model.ts";

export default defineCommand({
  summary: "Measure a model by tasks, with confidence intervals, and compare it with another.",
  usage: "lianlu evaluate MODEL|URL --task NAME... --out DIR [--compare DIR]",
  examples: [
    {
      command:
        "lianlu evaluate base --task perplexity --text tokens --task quatrain --titles instructions --out before",
      help: "a checkpoint, on held-out text and titles",
    },
    {
      command:
        "lianlu evaluate base --adapter adapter --task quatrain --titles instructions --out after --compare before",
      help: "the same titles and seeds after fine-tuning, with the difference",
    },
  ],
  positionals: { min: 1, max: 1, help: "a model, its name, or the base URL of an OpenAI-compatible server" },
  options: {
    task: {
      type: "strings",
      placeholder: "NAME",
      help: "perplexity, quatrain, or the path of your own task; may be given again",
    },
    out: {
      type: "string",
      required: true,
      placeholder: "DIR",
      help: "report directory to write; an interrupted run goes on where it was",
    },
    adapter: { type: "string", placeholder: "DIR", help: "PEFT adapter for a model directory" },
    compare: { type: "string", placeholder: "DIR", help: "report of another model on the same samples" },
    samples: { type: "integer", min: 1, max: 1_000_000, default: 200, help: "samples of each task, at most" },
    text: {
      type: "string",
      placeholder: "PATH",
      help: "text for perplexity: a tokens directory (its validation split), a corpus or a .jsonl file",
    },
    titles: {
      type: "string",
      placeholder: "PATH",
      help: "titles for quatrain: an instructions directory (what it held out) or a file",
    },
    temperature: { type: "number", min: 0, max: 2, default: 0.7, help: "sampling temperature" },
    topP: { type: "number", min: 0.01, max: 1, default: 0.95, help: "nucleus of the sampling" },
    concurrency: { type: "integer", min: 1, max: 1024, default: 8, help: "samples under way at a time" },
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      default: 1,
      help: "chooses the samples and decides what is written",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const target = positionals[0]!;
    const { samples, seed, temperature, topP, text, titles, adapter, compare } = options;
    const settings: TaskSettings = {
      samples,
      seed,
      temperature,
      topP,
      ...(text === undefined ? {} : { text }),
      ...(titles === undefined ? {} : { titles }),
    };
    const opened = await openModel(target, { adapter });
    const { model } = opened;
    try {
      const job = evaluate({
        model,
        modelIdentity: await identify(target, opened),
        tasks: options.task,
        settings,
        out: options.out,
        ...(compare === undefined ? {} : { compareWith: compare }),
        concurrency: options.concurrency,
        signal,
      });
      const result = await runJob(job, report);
      print(`${formatReport(result)}\nWritten: ${options.out}`);
      return result;
    } finally {
      await model.close();
    }
  },
});

/** What tells a model apart: the hashes of its files; of a server only its address and name are known. */
async function identify(target: string, { model, path, adapter }: OpenedModel): Promise<string> {
  if (path === undefined) return `${target} ${model.id}`;
  const paths = [path, ...(adapter === undefined ? [] : [adapter])];
  return (await Promise.all(paths.map(async (each) => (await hashInput(each)).sha256))).join("+");
}
