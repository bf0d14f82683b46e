import { readConfiguration, type TrainingRun } from "../../flywheel/index.ts";
import { resolveModel } from "../../hub/index.ts";
import { defineCommand } from "../command.ts";
import { runInWorker } from "../ui/worker-job.ts";

/** What every run tells of itself. */
interface Outcome {
  steps: number;
  tokensPerSecond: number;
  validationLoss: number;
}

const jobs = {
  pretrain: "pretrainRun",
  finetune: "finetuneRun",
  prefer: "preferRun",
  grpo: "grpoRun",
} as const satisfies Record<TrainingRun["kind"], string>;

export default defineCommand({
  summary: "Run the training that a configuration file describes.",
  usage: "lianlu train FILE",
  examples: [
    {
      command: "lianlu train training.config.ts",
      help: 'export default defineTraining({ kind: "finetune", model: "base", data: "chats.jsonl", ... })',
    },
    { command: "lianlu train training.config.ts --out second", help: "the same, to another place" },
  ],
  positionals: { min: 1, max: 1, help: "a .ts, .js or .json file that exports a training as default" },
  options: {
    out: { type: "string", placeholder: "DIR", help: "in place of the file's `out`" },
  },
  async run({ options, positionals, signal, report, print }) {
    const read = await readConfiguration(positionals[0]!);
    const { kind, ...job } = { ...read, ...(options.out !== undefined && { out: options.out }) };
    if (kind !== "pretrain") job.model = resolveModel(job.model as string);
    const module = import.meta.resolve("../../flywheel/runs.ts");
    const result = await runInWorker<Outcome>(module, jobs[kind], job, { report, signal });
    const { steps, tokensPerSecond, validationLoss } = result;
    const loss = Number.isNaN(validationLoss)
      ? "Nothing was held out."
      : `Validation loss ${validationLoss.toFixed(3)}.`;
    print(`${steps} steps at ${Math.round(tokensPerSecond)} tokens/s. ${loss} Written: ${job.out}`);
    return { ...result, curve: undefined };
  },
});
