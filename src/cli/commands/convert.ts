import { formatBytes, formatNumber } from "../ui/table.ts";
import { runInWorker } from "../ui/worker-job.ts";
import type { ConvertOptions, ConvertResult } from "../../quantize/index.ts";
import { defineCommand } from "../command.ts";

export default defineCommand({
  summary: "Turn a checkpoint into a GGUF file, or a GGUF file into a checkpoint.",
  usage: "lianlu convert MODEL OUT [--type f32|f16|bf16]",
  examples: [
    { command: "lianlu convert tuned tuned.gguf", help: "one file for llama.cpp, weights equal to the bit" },
    { command: "lianlu convert tuned.gguf tuned-hf --type bf16", help: "a directory for transformers" },
  ],
  positionals: { min: 2, max: 2, help: "a model, and a .gguf file or a directory to write" },
  options: {
    type: {
      type: "choice",
      values: ["f32", "f16", "bf16"],
      help: "of all matrices; without it each tensor keeps its type, and low-bit ones become f16 in a checkpoint",
    },
    tokenizer: { type: "string", placeholder: "PATH", help: "the tokenizer, if it does not lie with the model" },
  },
  async run({ options, positionals, signal, report, print }) {
    const [model, out] = positionals as [string, string];
    const { type, tokenizer } = options;
    const job: Omit<ConvertOptions, "signal"> = { model, out, ...(type && { type }), ...(tokenizer && { tokenizer }) };
    const module = import.meta.resolve("../../quantize/convert.ts");
    const result = await runInWorker<ConvertResult>(module, "convert", job, { report, signal });
    const types = Object.entries(result.types).map(([name, count]) => `${count} ${name}`);
    print(
      [
        `Written: ${out}, ${formatNumber(result.parameters)} parameters in ${result.tensors} tensors (${types.join(", ")}), ${formatBytes(result.bytesAfter)}`,
        ...result.differences.map((difference) => `Note: ${difference}`),
      ].join("\n"),
    );
    return result;
  },
});
