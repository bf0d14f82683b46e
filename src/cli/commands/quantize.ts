import { defineCommand } from "../command.ts";
import { runInWorker } from "../ui/worker-job.ts";
import { formatReport, type QuantizeOptions, type QuantizeReport } from "../../quantize/index.ts";

export default defineCommand({
  summary: "Store a model in 4, 6 or 8 bits a weight, and measure what it costs.",
  usage: "lianlu quantize MODEL --out DIR [--scheme NAME] [--calibration FILE] [--tokens DIR | --evaluation FILE]",
  examples: [
    {
      command: "lianlu quantize tuned --out tuned-q4 --tokens tokens",
      help: "4 bits, compared with the float model on held-out text",
    },
    {
      command: "lianlu quantize tuned --out tuned-awq --scheme awq --calibration train.txt --evaluation valid.txt",
      help: "4 bits, calibrated, as other engines load it",
    },
    {
      command: "lianlu quantize tuned --out tuned-q8 --scheme q8_0 --tokens tokens --max-perplexity-increase 1",
      help: "8 bits, refused if perplexity grows by more than 1%",
    },
  ],
  positionals: { min: 1, max: 1, help: "a checkpoint directory, a GGUF file or a llama2.c file" },
  options: {
    out: {
      type: "string",
      required: true,
      placeholder: "DIR",
      help: "directory to write: the weights, the tokenizer, report.json and report.txt",
    },
    scheme: {
      type: "choice",
      values: ["q4_0", "q4_k_m", "q6_k", "q8_0", "awq"],
      default: "q4_0",
      help: "4.5, about 4.9, 6.6 or 8.5 bits a weight as GGUF, or 4.25 as AWQ safetensors",
    },
    calibration: {
      type: "string",
      placeholder: "FILE",
      help: "a text like those the model will see; 4-bit schemes scale and round by it",
    },
    calibrationTokens: {
      type: "integer",
      min: 1,
      max: 1 << 24,
      default: 128 * 2048,
      help: "tokens of it to run the float model over, at most",
    },
    tokens: {
      type: "string",
      placeholder: "DIR",
      help: "what `lianlu tokenize` wrote; its validation split is compared on",
    },
    evaluation: { type: "string", placeholder: "FILE", help: "or a text to compare on" },
    evaluationTokens: {
      type: "integer",
      min: 1,
      max: 1 << 24,
      default: 8192,
      help: "held-out tokens to compare on, at most",
    },
    tokenizer: { type: "string", placeholder: "PATH", help: "the tokenizer, if it does not lie with the model" },
    maxPerplexityIncrease: {
      type: "number",
      min: 0,
      placeholder: "PERCENT",
      help: "write nothing if perplexity grows by more than this",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const { calibration, tokens, evaluation, tokenizer, maxPerplexityIncrease } = options;
    const job: Omit<QuantizeOptions, "signal"> = {
      model: positionals[0]!,
      out: options.out,
      scheme: options.scheme,
      calibrationTokens: options.calibrationTokens,
      evaluationTokens: options.evaluationTokens,
      ...(calibration !== undefined && { calibration }),
      ...(tokens !== undefined && { tokens }),
      ...(evaluation !== undefined && { evaluation }),
      ...(tokenizer !== undefined && { tokenizer }),
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
