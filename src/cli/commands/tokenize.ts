import { defineCommand } from "../command.ts";
import { readCorpus } from "../../corpus/index.ts";
import { hashInput, readManifest } from "../../formats/manifest.ts";
import { runJob } from "../../protocol/index.ts";
import { tokenize } from "../../tokenizer/index.ts";
import type { SplitName } from "../../tokenizer/index.ts";

export default defineCommand({
  summary: "Train a byte-level BPE tokenizer on a corpus and encode the corpus with it.",
  usage: "lianlu tokenize CORPUS --out DIR [--vocab-size N | --tokenizer DIR]",
  examples: [
    { command: "lianlu tokenize corpus --out tokens --vocab-size 6000", help: "train a tokenizer, then encode" },
    {
      command: "lianlu tokenize corpus --out tokens --tokenizer base",
      help: "encode with the tokenizer of a checkpoint",
    },
  ],
  positionals: { min: 1, max: 1, help: "a directory that `lianlu data` wrote" },
  options: {
    out: { type: "string", required: true, placeholder: "DIR", help: "directory to write" },
    vocabSize: {
      type: "integer",
      min: 265,
      max: 1_000_000,
      default: 6000,
      help: "tokens of the tokenizer that is trained, control tokens and bytes included",
    },
    split: {
      type: "choice",
      values: ["auto", "han", "words"],
      default: "auto",
      help: "han: a token is at most one Han character; words: as long as it is frequent; auto: han for Chinese",
    },
    validationShare: {
      type: "number",
      min: 0,
      max: 0.99,
      default: 0.02,
      help: "share of the documents for the validation split, chosen by a hash of their ids",
    },
    tokenizer: {
      type: "string",
      placeholder: "DIR",
      help: "use this tokenizer instead of training one: a directory, a tokenizer.json or a llama2.c .bin",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const corpus = positionals[0]!;
    const { documents } = readManifest(corpus, "corpus").metrics;
    const job = tokenize({
      documents: () => readCorpus(corpus),
      out: options.out,
      vocabSize: options.vocabSize,
      split: options.split as SplitName,
      validationShare: options.validationShare,
      ...(options.tokenizer === undefined ? {} : { tokenizer: options.tokenizer }),
      ...(typeof documents === "number" ? { totalDocuments: documents } : {}),
      input: await hashInput(corpus),
      signal,
    });
    const { metrics } = await runJob(job, report);
    const { train, validation } = metrics;
    print(
      `${train.documents} documents (${train.tokens} tokens) for training, ${validation.documents} (${validation.tokens}) for` +
        ` validation; ${metrics.charactersPerToken.toFixed(2)} characters and ${metrics.bytesPerToken.toFixed(2)} bytes a token,` +
        ` ${metrics.tokensPerSecond} tokens/s. Written: ${options.out}`,
    );
    return metrics;
  },
});
