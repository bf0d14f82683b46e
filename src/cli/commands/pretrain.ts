import type { PretrainRun } from "../../flywheel/index.ts";
import { resolveModel } from "../../hub/index.ts";
import { readConfig } from "../../model/index.ts";
import { pretrainDefaults, type PretrainResult } from "../../train/index.ts";
import { defineCommand } from "../command.ts";
import {
  hookOptions,
  hookSettings,
  stepOptions,
  stepSettings,
  watchOptions,
  watchSettings,
} from "../training/options.ts";
import {
  batchOptions,
  checkNoShape,
  describeDepth,
  readShape,
  readSources,
  shapeOptions,
  sourceOptions,
} from "../training/pretrain-options.ts";
import { runInWorker } from "../ui/worker-job.ts";
import { Failure } from "../../protocol/errors.ts";

const { schedule, optimizer, ...settings } = pretrainDefaults;

export default defineCommand({
  summary: "Train a decoder on tokens, from scratch or from a checkpoint.",
  usage: "lianlu pretrain TOKENS --out DIR (--steps N | --minutes N | --epochs N)",
  examples: [
    { command: "lianlu pretrain tokens --out base --minutes 3", help: "the default model of about 5 M parameters" },
    { command: "lianlu pretrain tokens --out base --depth 8 --epochs 2", help: "one dial for the size; two epochs" },
    {
      command: "lianlu pretrain tokens --out base --steps 500 --family qwen3 --hidden 256 --heads 8 --intermediate 704",
      help: "a shape of your own",
    },
    {
      command: "lianlu pretrain --source wiki=tokens-wiki:0.7 --source code=tokens-code:0.3 --out base --steps 2000",
      help: "two sources by weight",
    },
    {
      command: "lianlu pretrain tokens --from base --out longer --steps 500 --learning-rate 1e-3",
      help: "go on from the weights of a checkpoint",
    },
  ],
  positionals: { min: 0, max: 1, help: "a directory that `lianlu tokenize` wrote; or --source" },
  options: {
    out: {
      type: "string",
      required: true,
      placeholder: "DIR",
      help: "checkpoint directory to write; DIR.training holds the run until then",
    },
    steps: { type: "integer", min: 1, help: "steps to train" },
    minutes: {
      type: "number",
      min: 0.05,
      max: 100_000,
      help: "train for about this long; steps are reckoned once, at the start",
    },
    ...sourceOptions,
    from: { type: "string", placeholder: "DIR", help: "checkpoint to go on from; shape and tokenizer are its" },
    ...shapeOptions,
    ...batchOptions,
    zero: {
      type: "integer",
      min: 1,
      default: 1,
      placeholder: "GROUP",
      help: "under mpirun or srun: this many ranks share one set of moments; 1 gives each its own",
    },
    ...stepOptions,
    ...watchOptions,
    ...hookOptions,
    validateEvery: {
      type: "integer",
      min: 1,
      default: settings.validateEvery,
      help: "steps between looks at the validation split",
    },
    snapshotEvery: {
      type: "integer",
      min: 1,
      default: settings.snapshotEvery,
      help: "steps between snapshots: no more than these are lost in a crash",
    },
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      default: settings.seed,
      help: "decides weights and the order of documents",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const sources = readSources(options, positionals[0]);
    const from = options.from === undefined ? undefined : resolveModel(options.from);
    if (from !== undefined) checkNoShape(options, from);
    const { peak, ...shape } = readShape(options);
    if (from !== undefined && options.length === undefined) {
      shape.length = Math.min(shape.length, readConfig(from).maxPositions);
    }
    const { lengths, ...batches } = shape;
    const usual = { ...schedule, peak: peak ?? schedule.peak };
    const steps = stepSettings(options, { optimizer, schedule: usual });
    if (options.depth !== undefined) print(describeDepth({ ...shape, peak }, steps.schedule.peak));
    const job: PretrainRun = {
      ...batches,
      ...(lengths !== undefined && { lengths }),
      ...steps,
      ...watchSettings(options),
      ...hookSettings(options),
      tokens: sources,
      out: options.out,
      ...(from !== undefined && { from }),
      until: readEnd(options),
      zero: options.zero,
      validateEvery: options.validateEvery,
      snapshotEvery: options.snapshotEvery,
      seed: options.seed,
    };
    const result = await runInWorker<PretrainResult>(
      import.meta.resolve("../../flywheel/runs.ts"),
      "pretrainRun",
      job,
      {
        report,
        signal,
      },
    );
    print(
      `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. Validation loss ${result.validationLoss.toFixed(3)} nats a token` +
        ` (unigram ${result.unigramLoss.toFixed(3)}, trigram ${result.trigramLoss.toFixed(3)})${describeLosses(result)}. Written: ${options.out}`,
    );
    return { ...result, curve: undefined };
  },
});

function readEnd({
  steps,
  minutes,
  epochs,
  source,
}: {
  steps: number | undefined;
  minutes: number | undefined;
  epochs: number | undefined;
  source: readonly string[];
}): PretrainRun["until"] {
  if (steps !== undefined && minutes !== undefined) {
    throw new Failure("usage", "Give either --steps or --minutes.", "For example --minutes 3.");
  }
  if (steps !== undefined) return { steps };
  if (minutes !== undefined) return { minutes };
  if (epochs === undefined && source.length === 0) {
    throw new Failure("usage", "Give one of --steps, --minutes and --epochs.", "For example --minutes 3.");
  }
  return "epochs";
}

function describeLosses({ validationLosses }: PretrainResult): string {
  const entries = Object.entries(validationLosses);
  if (entries.length < 2) return "";
  return `: ${entries.map(([name, loss]) => `${name} ${loss.toFixed(3)}`).join(", ")}`;
}
