import { defineCommand } from "../command.ts";
import { runInWorker } from "../ui/worker-job.ts";
import { Failure } from "../../protocol/errors.ts";
import { pretrainDefaults, type PretrainOptions, type PretrainResult } from "../../train/index.ts";

const { model, schedule, optimizer, ...settings } = pretrainDefaults;

export default defineCommand({
  summary: "Train a decoder from scratch on tokens.",
  usage: "lianlu pretrain TOKENS --out DIR (--steps N | --minutes N)",
  examples: [
    { command: "lianlu pretrain tokens --out base --minutes 3", help: "the default model of about 5 M parameters" },
    {
      command: "lianlu pretrain tokens --out base --steps 500 --hidden 256 --heads 8 --intermediate 704",
      help: "a larger one",
    },
  ],
  positionals: { min: 1, max: 1, help: "a directory that `lianlu tokenize` wrote" },
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
    family: { type: "choice", values: ["internlm2", "llama"], default: model.family, help: "architecture" },
    hidden: { type: "integer", min: 16, max: 16384, default: model.hiddenSize, help: "hidden size" },
    layers: { type: "integer", min: 1, max: 256, default: model.layers, help: "blocks" },
    heads: { type: "integer", min: 1, max: 256, default: model.heads, help: "query heads" },
    kvHeads: { type: "integer", min: 1, max: 256, default: model.kvHeads, help: "key-value heads" },
    intermediate: { type: "integer", min: 16, max: 65536, default: model.intermediateSize, help: "feed-forward size" },
    length: {
      type: "integer",
      min: 8,
      max: 32768,
      default: settings.length,
      help: "longest piece of a document, in tokens",
    },
    batchTokens: { type: "integer", min: 8, max: 1 << 20, default: settings.batchTokens, help: "tokens a batch" },
    accumulate: { type: "integer", min: 1, max: 4096, default: settings.accumulate, help: "batches a step" },
    zero: {
      type: "integer",
      min: 1,
      default: 1,
      placeholder: "GROUP",
      help: "under mpirun or srun: this many ranks share one set of moments; 1 gives each its own",
    },
    optimizer: {
      type: "choice",
      values: ["muon", "adamw"],
      default: optimizer.kind,
      help: "muon for the matrices of the blocks, adamw for the rest; or adamw for all",
    },
    learningRate: { type: "number", min: 0, max: 1, default: schedule.peak, help: "highest learning rate" },
    schedule: {
      type: "choice",
      values: ["cosine", "constant"],
      default: schedule.kind,
      help: "learning rate over time",
    },
    warmup: {
      type: "number",
      min: 0,
      max: 1,
      default: schedule.warmupShare,
      help: "share of the steps in which the rate rises",
    },
    weightDecay: { type: "number", min: 0, max: 1, default: optimizer.weightDecay, help: "decay of matrices" },
    clip: { type: "number", min: 0, default: optimizer.clip, help: "largest gradient norm; 0 does not clip" },
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
    if ((options.steps === undefined) === (options.minutes === undefined)) {
      throw new Failure("usage", "Give either --steps or --minutes.", "For example --minutes 3.");
    }
    const job: Omit<PretrainOptions, "signal"> = {
      tokens: positionals[0]!,
      out: options.out,
      model: {
        family: options.family,
        hiddenSize: options.hidden,
        layers: options.layers,
        heads: options.heads,
        kvHeads: options.kvHeads,
        intermediateSize: options.intermediate,
      },
      length: options.length,
      batchTokens: options.batchTokens,
      accumulate: options.accumulate,
      zero: options.zero,
      until: options.steps === undefined ? { minutes: options.minutes! } : { steps: options.steps },
      schedule: {
        ...schedule,
        kind: options.schedule as "cosine" | "constant",
        peak: options.learningRate,
        warmupShare: options.warmup,
      },
      optimizer: {
        ...optimizer,
        kind: options.optimizer as "adamw" | "muon",
        weightDecay: options.weightDecay,
        clip: options.clip,
      },
      validateEvery: options.validateEvery,
      snapshotEvery: options.snapshotEvery,
      seed: options.seed,
    };
    const result = await runInWorker<PretrainResult>(import.meta.resolve("../../train/pretrain.ts"), "pretrain", job, {
      report,
      signal,
    });
    print(
      `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. Validation loss ${result.validationLoss.toFixed(3)} nats a token` +
        ` (unigram ${result.unigramLoss.toFixed(3)}, trigram ${result.trigramLoss.toFixed(3)}). Written: ${options.out}`,
    );
    return { ...result, curve: undefined };
  },
});
