import { resolveModel } from "../../hub/index.ts";
import type { FinetuneRun } from "../../flywheel/index.ts";
import {
  finetuneDefaults,
  lengthPolicies,
  maskDialects,
  parseDataSource,
  purposes,
  usualRates,
  type FinetuneResult,
} from "../../train/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { defineCommand } from "../command.ts";
import {
  dataOptions,
  exampleSettings,
  hookOptions,
  hookSettings,
  paceOptions,
  runSettings,
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
    out: {
      type: "string",
      placeholder: "DIR",
      help: "PEFT adapter directory to write, or the checkpoint of --method full; DIR.training holds the run until then",
    },
    ...tuningOptions,
    mask: {
      type: "choice",
      values: maskDialects,
      default: "xtuner",
      help: "what is learnt: the answer and its end (xtuner), or the line break after it too (llama-factory)",
    },
    lastTurn: { type: "boolean", help: "of a dialogue, learn the last answer alone" },
    tooLong: {
      type: "choice",
      values: lengthPolicies,
      default: "drop",
      help: "examples that are longer: leave out, cut after the last answer that fits, or cut anywhere",
    },
    ...dataOptions,
    batchTokens: {
      type: "integer",
      min: 8,
      max: 1 << 20,
      default: settings.batchTokens,
      help: "tokens a batch; examples are packed, and never see each other",
    },
    ...paceOptions,
    ...stepOptions,
    ...watchOptions,
    ...hookOptions,
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
    const { zero, out } = options;
    const examples = {
      mask: options.mask,
      lastTurnOnly: options.lastTurn,
      tooLong: options.tooLong,
      ...exampleSettings(options),
    };
    if (positionals.length === 2) {
      const [action, model] = positionals as [string, string];
      if (action !== "inspect") {
        throw new Failure("usage", `"${action}" is nothing that is done with data.`, "Write inspect, or MODEL alone.");
      }
      const { batchTokens, accumulate, seed, for: purpose, index, ids } = options;
      const data = options.data.map(parseDataSource);
      const inspect = { model, data, examples, batchTokens, accumulate, seed, purpose, index, ids };
      return await inspectCommand(inspect, { signal, report, print });
    }
    if (out === undefined) throw new Failure("usage", "--out DIR is needed.", "It is where the adapter is written.");
    const job: Omit<FinetuneRun, "signal"> = {
      model: resolveModel(positionals[0]!),
      out,
      ...runSettings(options, "--epochs 2"),
      ...tuningSettings(options),
      examples,
      ...stepSettings(options, { optimizer, schedule: { ...schedule, peak: usualRates[options.method] } }),
      ...watchSettings(options),
      ...hookSettings(options),
      ...(zero !== undefined && { zero }),
    };
    const module = import.meta.resolve("../../flywheel/runs.ts");
    const result = await runInWorker<FinetuneResult>(module, "finetuneRun", job, { report, signal });
    const { validationLossBefore: before, validationLoss: after } = result;
    const change = Number.isNaN(before)
      ? "Nothing was held out."
      : `Loss on held-out data ${before.toFixed(3)} -> ${after.toFixed(3)} nats a token.`;
    print(`${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. ${change} Written: ${out}`);
    return { ...result, curve: undefined };
  },
});
