import { defineCommand } from "../command.ts";
import { runInWorker } from "../ui/worker-job.ts";
import { formatReport, type QuantizeOptions, type QuantizeReport } from "../../quantize/index.ts";

export default defineCommand({
  summary: "Store a checkpoint in 4 or 8 bits a weight, and measure what it costs.",
  usage: "lianlu quantize MODEL --out DIR [--scheme q4_0|q8_0] [--tokens DIR]",
  examples: [
    {
      command: "lianlu quantize tuned --out tuned-q4 --tokens tokens",
      help: "4 bits, compared with the float model on held-out text",
    },
    {
      command: "lianlu quantize tuned --out tuned-q8 --scheme q8_0 --tokens tokens --max-perplexity-increase 1",
      help: "8 bits, refused if perplexity grows by more than 1%",
    },
  ],
  positionals: { min: 1, max: 1, help: "a checkpoint directory" },
  options: {
    out: {
      type: "string",
      required: true,
      placeholder: "DIR",
      help: "directory to write: model.gguf, its tokenizer, report.json and report.txt",
    },
    scheme: { type: "choice", values: ["q4_0", "q8_0"], default: "q4_0", help: "4.5 or 8.5 bits a weight" },
    tokens: {
      type: "string",
      placeholder: "DIR",
      help: "what `lianlu tokenize` wrote; its validation split is compared on",
    },
    evaluationTokens: {
      type: "integer",
      min: 1,
      max: 1 << 24,
      default: 8192,
      help: "held-out tokens to compare on, at most",
    },
    maxPerplexityIncrease: {
      type: "number",
      min: 0,
      placeholder: "PERCENT",
      help: "write nothing if perplexity grows by more than this",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const { tokens, maxPerplexityIncrease } = options;
    const job: Omit<QuantizeOptions, "signal"> = {
      model: positionals[0]!,
      out: options.out,
      scheme: options.scheme,
      evaluationTokens: options.evaluationTokens,
      ...(tokens !== undefined && { tokens }),
      ...(maxPerplexityIncrease !== undefined && { maxPerplexityIncrease }),
    };
    const result = await runInWorker<QuantizeReport>(
      import.meta.resolve("../../quantize/quantize.ts"),
      "quantize",
      job,
      {
        report,
        signal,
      },
    );
    print(`${formatReport(result)}\nWritten: ${options.out}`);
    return result;
  },
});
