import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineCommand } from "../command.ts";
import { runInWorker } from "../ui/worker-job.ts";
import { Failure } from "../../protocol/errors.ts";
import { finetuneDefaults, type FinetuneOptions, type FinetuneResult } from "../../train/index.ts";

const { lora, schedule, optimizer, ...settings } = finetuneDefaults;

/** What `lianlu instructions` and `lianlu agent` write. */
const dialogueFiles = ["instructions.jsonl", "accepted.jsonl"];

export default defineCommand({
  summary: "Fine-tune a checkpoint on dialogues with LoRA.",
  usage: "lianlu finetune MODEL --data FILE --out DIR [--merged DIR]",
  examples: [
    { command: "lianlu finetune base --data dialogues.jsonl --out adapter --epochs 2", help: "your own dialogues" },
    {
      command: "lianlu finetune base --data instructions --out adapter --minutes 1 --merged tuned",
      help: "instructions made from a corpus, and a checkpoint with the adapter merged",
    },
  ],
  positionals: { min: 1, max: 1, help: "a checkpoint directory" },
  options: {
    data: {
      type: "string",
      required: true,
      placeholder: "FILE",
      help: 'JSON lines of {"messages": [...]}, or a directory that `lianlu instructions` or `lianlu agent` wrote',
    },
    out: { type: "string", required: true, placeholder: "DIR", help: "PEFT adapter directory to write" },
    merged: { type: "string", placeholder: "DIR", help: "checkpoint directory to write, with the adapter merged" },
    steps: { type: "integer", min: 1, help: "steps to train" },
    minutes: { type: "number", min: 0.02, max: 100_000, help: "train for about this long" },
    epochs: { type: "number", min: 1, max: 1000, help: "go through the dialogues this often" },
    rank: { type: "integer", min: 1, max: 1024, default: lora.rank, help: "rank of the adapters" },
    alpha: { type: "number", min: 0.001, default: lora.alpha, help: "scale: the change counts alpha / rank" },
    target: {
      type: "strings",
      placeholder: "NAME",
      help: "layers to adapt, by the last part of their names (default: every linear layer)",
    },
    batchTokens: {
      type: "integer",
      min: 8,
      max: 1 << 20,
      default: settings.batchTokens,
      help: "tokens a batch; dialogues are packed, none is cut",
    },
    learningRate: { type: "number", min: 0, max: 1, default: schedule.peak, help: "highest learning rate" },
    warmup: {
      type: "number",
      min: 0,
      max: 1,
      default: schedule.warmupShare,
      help: "share of the steps in which the rate rises",
    },
    validateEvery: {
      type: "integer",
      min: 1,
      default: settings.validateEvery,
      help: "steps between looks at dialogues that are held out",
    },
    snapshotEvery: { type: "integer", min: 1, default: settings.snapshotEvery, help: "steps between snapshots" },
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      default: settings.seed,
      help: "decides adapters and the order of dialogues",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const ends = [options.steps, options.minutes, options.epochs].filter((value) => value !== undefined);
    if (ends.length !== 1)
      throw new Failure("usage", "Give one of --steps, --minutes and --epochs.", "For example --epochs 2.");
    const data = dialogueFiles.map((name) => join(options.data, name)).find((path) => existsSync(path)) ?? options.data;
    const job: Omit<FinetuneOptions, "signal"> = {
      model: positionals[0]!,
      data,
      out: options.out,
      ...(options.merged === undefined ? {} : { merged: options.merged }),
      lora: {
        rank: options.rank,
        alpha: options.alpha,
        targets: options.target.length > 0 ? options.target : "all-linear",
      },
      batchTokens: options.batchTokens,
      until:
        options.steps !== undefined
          ? { steps: options.steps }
          : options.minutes !== undefined
            ? { minutes: options.minutes }
            : { epochs: options.epochs! },
      schedule: { ...schedule, peak: options.learningRate, warmupShare: options.warmup },
      optimizer,
      validateEvery: options.validateEvery,
      snapshotEvery: options.snapshotEvery,
      seed: options.seed,
    };
    const result = await runInWorker<FinetuneResult>(import.meta.resolve("../../train/finetune.ts"), "finetune", job, {
      report,
      signal,
    });
    print(
      `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. Loss on held-out dialogues ` +
        `${result.validationLossBefore.toFixed(3)} -> ${result.validationLoss.toFixed(3)} nats a token. Written: ${options.out}`,
    );
    return { ...result, curve: undefined };
  },
});
