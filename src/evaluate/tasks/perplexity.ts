// How well a model predicts held-out text: bits a byte, which compares models with any tokenizers, and perplexity a
// token, which compares models with the same one.
import { existsSync, statSync } from "node:fs";
import { readCorpus } from "../../corpus/index.ts";
import { readJsonLines } from "../../formats/jsonl.ts";
import { readManifest } from "../../formats/manifest.ts";
import { openTokens } from "../../formats/token-shards.ts";
import { Failure } from "../../protocol/errors.ts";
import { randomPermutation } from "../../tensor/index.ts";
import { loadTokenizer } from "../../tokenizer/index.ts";
import { likelihoodScorer, scoreLikelihood } from "../scorers/likelihood.ts";
import { defineTask, type Sample } from "../task.ts";

type Text = { id: string; text: string };

export default defineTask<string>({
  summary: "bits a byte and perplexity a token on held-out text (--text)",
  scorer: likelihoodScorer,
  metrics: [
    {
      name: "bits-per-byte",
      title: "bits a byte",
      kind: "ratio",
      numerator: "bits",
      denominator: "bytes",
      exponential: false,
    },
    {
      name: "perplexity",
      title: "perplexity a token",
      kind: "ratio",
      numerator: "nats",
      denominator: "tokens",
      exponential: true,
    },
  ],
  async *samples({ samples, seed, text: path }): AsyncGenerator<Sample<string>> {
    if (path === undefined) {
      throw new Failure(
        "usage",
        "the task perplexity needs text",
        "Give --text with a tokens directory, a corpus or a .jsonl file.",
      );
    }
    if (!existsSync(path)) throw new Failure("usage", `there is no ${path}`, "Check the path given as --text.");
    const documents = await Array.fromAsync(documentsOf(path));
    const texts = documents.filter(({ text }) => text.trim() !== "");
    if (texts.length === 0) throw new Failure("input", `${path} holds no text`, "Give --text with documents in it.");
    for (const index of randomPermutation(seed, 0, texts.length).subarray(0, samples)) {
      const { id, text } = texts[index]!;
      yield { id, data: text };
    }
  },
  ask: ({ data: text }) => ({ kind: "score", text }),
  score(answer) {
    if (answer.kind !== "score") throw new TypeError("the task perplexity scores texts");
    return scoreLikelihood(answer.pieces);
  },
});

/** Of a tokens directory the validation split alone. */
async function* documentsOf(path: string): AsyncGenerator<Text> {
  if (!statSync(path).isDirectory()) return yield* linesOf(path);
  const { kind } = readManifest(path);
  if (kind === "corpus") return yield* readCorpus(path);
  if (kind !== "tokens") {
    throw new Failure("usage", `${path} is of kind "${kind}"`, "Give --text with a tokens or corpus directory.");
  }
  const tokenizer = loadTokenizer(path);
  const split = openTokens(path, "validation");
  try {
    for (let index = 0; index < split.documents; index++) {
      yield { id: `validation-${index}`, text: tokenizer.decode(split.document(index)) };
    }
  } finally {
    split.close();
  }
}

async function* linesOf(path: string): AsyncGenerator<Text> {
  for await (const { line, ...entry } of readJsonLines(path)) {
    const value = "value" in entry ? (entry.value as Partial<Text> | null) : undefined;
    if (typeof value?.text !== "string") {
      const reason = entry.error ?? "no string in the field text";
      throw new Failure("input", `${path}:${line}: ${reason}`, 'Each line is {"id": "...", "text": "..."}.');
    }
    yield { id: typeof value.id === "string" ? value.id : `line-${line}`, text: value.text };
  }
}
