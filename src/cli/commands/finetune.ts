import { resolveModel } from "../../hub/index.ts";
import type { FinetuneRun } from "../../flywheel/index.ts";
import {
  finetuneDefaults,
  formatNames,
  lengthPolicies,
  maskDialects,
  parseDataSource,
  purposes,
  usualRates,
  type FinetuneResult,
} from "../../train/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { precisions } from "../../kernels/index.ts";
import { defineCommand } from "../command.ts";
import {
  hookOptions,
  hookSettings,
  onlyOne,
  stepOptions,
  stepSettings,
  tuningOptions,
  tuningSettings,
  watchOptions,
  watchSettings,
} from "../training/options.ts";
import { inspectCommand } from "../training/inspect.ts";
import { runInWorker } from "../ui/worker-job.ts";

const { schedule, optimizer, ...settings } = finetuneDefaults;

export default defineCommand({
  summary: "Fine-tune a model on your data: LoRA, QLoRA or all weights.",
  usage: "lianlu finetune MODEL --data FILE --out DIR [--merged DIR] | inspect MODEL --data FILE",
  examples: [
    { command: "lianlu finetune base --data dialogues.jsonl --out adapter --epochs 2", help: "your own dialogues" },
    {
      command: "lianlu finetune base --data instructions --out adapter --minutes 1 --merged tuned",
      help: "instructions made from a corpus, and a checkpoint with the adapter merged",
    },
    {
      command:
        "lianlu finetune tinyllama --base nf4 --data alpaca.json:0.5 --data chats.parquet --out adapter --epochs 1",
      help: "QLoRA: the base in 4 bits; half of one file and all of another",
    },
    {
      command: "lianlu finetune base --method full --data book.txt --out continued --steps 200",
      help: "all weights, on plain text",
    },
    {
      command: "lianlu finetune inspect base --data dialogues.jsonl --index 3",
      help: "lengths, repetitions and steps of an epoch, and an example token by token with what of it is learnt",
    },
  ],
  positionals: {
    min: 1,
    max: 2,
    help: "a checkpoint, a .gguf file, or the name of a fetched model; before it inspect, to look at the data alone",
  },
  options: {
    data: {
      type: "strings",
      required: true,
      placeholder: "FILE",
      help: "JSON, JSON lines, Parquet or text, a directory, or hf:OWNER/DATASET; FILE:0.5 is half of it, FILE:1000 so many",
    },
    format: { type: "choice", values: formatNames(), help: "how the data are written; else it is seen from them" },
    validation: {
      type: "strings",
      placeholder: "FILE",
      help: "held-out data; else a twentieth of the data is held out",
    },
    skipBad: { type: "boolean", help: "leave out records that cannot be read, and count them" },
    out: {
      type: "string",
      placeholder: "DIR",
      help: "PEFT adapter directory to write, or the checkpoint of --method full; DIR.training holds the run until then",
    },
    merged: { type: "string", placeholder: "DIR", help: "checkpoint directory to write, with the adapter merged" },
    steps: { type: "integer", min: 1, help: "steps to train" },
    minutes: { type: "number", min: 0.02, max: 100_000, help: "train for about this long" },
    epochs: { type: "number", min: 0.01, max: 1000, help: "go through the data this often" },
    ...tuningOptions,
    mask: {
      type: "choice",
      values: maskDialects,
      default: "xtuner",
      help: "what is learnt: the answer and its end (xtuner), or the line break after it too (llama-factory)",
    },
    lastTurn: { type: "boolean", help: "of a dialogue, learn the last answer alone" },
    maxLength: {
      type: "integer",
      min: 8,
      placeholder: "N",
      help: "longest example, in tokens; else what a batch holds",
    },
    tooLong: {
      type: "choice",
      values: lengthPolicies,
      default: "drop",
      help: "examples that are longer: leave out, cut after the last answer that fits, or cut anywhere",
    },
    batchTokens: {
      type: "integer",
      min: 8,
      max: 1 << 20,
      default: settings.batchTokens,
      help: "tokens a batch; examples are packed, and never see each other",
    },
    accumulate: { type: "integer", min: 1, max: 4096, default: settings.accumulate, help: "batches a step" },
    checkpointing: {
      type: "number",
      min: 0,
      max: 1,
      default: 0,
      help: "share of the layers whose activations are made again instead of being kept: less memory, more time",
    },
    precision: { type: "choice", values: precisions, default: "f32", help: "of products; weights stay float32" },
    ...stepOptions,
    ...watchOptions,
    ...hookOptions,
    validateEvery: {
      type: "integer",
      min: 1,
      default: settings.validateEvery,
      help: "steps between looks at data that are held out",
    },
    snapshotEvery: { type: "integer", min: 1, default: settings.snapshotEvery, help: "steps between snapshots" },
    keepSaves: {
      type: "integer",
      min: 0,
      default: 0,
      help: "keep the newest so many snapshots as adapters (and merged), in DIR.saves",
    },
    zero: { type: "integer", min: 1, placeholder: "N", help: "with mpirun: so many ranks share one set of moments" },
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      default: settings.seed,
      help: "decides adapters and the order of examples",
    },
    for: {
      type: "choice",
      values: purposes,
      default: "tune",
      help: "with inspect: what the data are for; pairs, rated answers and prompts are what `lianlu prefer` learns from",
    },
    index: { type: "integer", min: 0, default: 0, help: "with inspect: the example to print, counted from 0" },
    ids: { type: "boolean", help: "with inspect: a line a token, with its id" },
  },
  async run({ options, positionals, signal, report, print }) {
    const { steps, minutes, epochs, format, maxLength, zero, out } = options;
    const data = options.data.map(parseDataSource);
    const examples = {
      mask: options.mask,
      lastTurnOnly: options.lastTurn,
      tooLong: options.tooLong,
      skipBad: options.skipBad,
      ...(format !== undefined && { format }),
      ...(maxLength !== undefined && { maxLength }),
    };
    if (positionals.length === 2) {
      const [action, model] = positionals as [string, string];
      if (action !== "inspect") {
        throw new Failure("usage", `"${action}" is nothing that is done with data.`, "Write inspect, or MODEL alone.");
      }
      const { batchTokens, accumulate, seed, for: purpose, index, ids } = options;
      const inspect = { model, data, examples, batchTokens, accumulate, seed, purpose, index, ids };
      return await inspectCommand(inspect, { signal, report, print });
    }
    if (out === undefined) throw new Failure("usage", "--out DIR is needed.", "It is where the adapter is written.");
    const [end, value] = onlyOne({ steps, minutes, epochs }, "--epochs 2");
    const job: Omit<FinetuneRun, "signal"> = {
      model: resolveModel(positionals[0]!),
      data,
      ...(options.validation.length > 0 && { validation: options.validation.map(parseDataSource) }),
      out,
      ...(options.merged !== undefined && { merged: options.merged }),
      until: { [end]: value } as FinetuneRun["until"],
      ...tuningSettings(options),
      examples,
      batchTokens: options.batchTokens,
      accumulate: options.accumulate,
      checkpointing: options.checkpointing,
      precision: options.precision,
      ...stepSettings(options, { optimizer, schedule: { ...schedule, peak: usualRates[options.method] } }),
      ...watchSettings(options),
      ...hookSettings(options),
      validateEvery: options.validateEvery,
      snapshotEvery: options.snapshotEvery,
      keepSaves: options.keepSaves,
      ...(zero !== undefined && { zero }),
      seed: options.seed,
    };
    const module = import.meta.resolve("../../flywheel/runs.ts");
    const result = await runInWorker<FinetuneResult>(module, "finetuneRun", job, { report, signal });
    print(
      `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. Loss on held-out data ` +
        `${result.validationLossBefore.toFixed(3)} -> ${result.validationLoss.toFixed(3)} nats a token. Written: ${out}`,
    );
    return { ...result, curve: undefined };
  },
});
