// node recipes/stories/main.ts [--minutes 12] [--out runs/stories] [--folder DIR] [--judge FILE]
// A model of about six million parameters on short stories for children, from text files to stories of its own; how
// likely those are to stories15M, a model of the same kind by someone else, is printed beside real stories it never saw.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../../src/engine/index.ts";
import { collect, Failure, runJob, type JobEvent, type LanguageModel } from "../../src/protocol/index.ts";
import { splitOf, tokenize } from "../../src/tokenizer/index.ts";
import { pretrain } from "../../src/train/index.ts";
import { readStories } from "./stories.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "12" },
    out: { type: "string", default: "runs/stories" },
    folder: { type: "string", default: "../shared/data/corpora/tinystories" },
    judge: { type: "string", default: "../shared/data/weights/llama2c/stories15M.bin" },
  },
});
const written = 40;
const longest = 200;
const validateEvery = 200;
const validationShare = 0.03;
const openings = ["Once upon a time", "One day, a little girl named", "There was a big", "Tom and Lily"];

for (const path of [values.folder, values.judge]) {
  if (!existsSync(path)) throw new Failure("input", `${path} is not there.`, "Give --folder and --judge.");
}
rmSync(values.out, { recursive: true, force: true });
const documents = readStories(values.folder).map((text, index) => ({ id: `story-${index}`, text }));
const held = documents.filter(({ id }) => splitOf(id, validationShare) === "validation").slice(0, written);
console.log(
  `${documents.length} stories, ${(documents.reduce((sum, { text }) => sum + text.length, 0) / 1e6).toFixed(1)} M characters.`,
);

const tokens = join(values.out, "tokens");
await runJob(
  tokenize({
    documents: async function* () {
      yield* documents;
    },
    out: tokens,
    vocabSize: 2048,
    validationShare,
  }),
);
const model = join(values.out, "model");
const result = await runJob(
  pretrain({
    tokens,
    out: model,
    until: { minutes: Number(values.minutes) },
    model: { family: "llama", hiddenSize: 256, layers: 6, heads: 8, kvHeads: 4, intermediateSize: 704 },
    length: 512,
    batchTokens: 2048,
    schedule: { kind: "cosine", peak: 3e-3, warmupShare: 0.02, finalShare: 0.05 },
    validateEvery,
    snapshotEvery: 500,
  }),
  show,
);

const author = await load(model);
const texts: string[] = [];
for (let seed = 0; seed < written; seed++) {
  const prompt = openings[seed % openings.length]!;
  const { text } = await collect(
    author.generate({ input: { prompt }, maxTokens: longest, temperature: 0.8, topP: 0.95, seed }),
  );
  texts.push(prompt + text);
}
await author.close();
console.log(`\n${texts[0]}\n\n${texts[1]}\n`);

const judge = await load(values.judge);
const own = await perplexity(judge, texts);
const real = await perplexity(
  judge,
  held.map(({ text }, index) => text.slice(0, texts[index]!.length)),
);
await judge.close();
console.log(
  `${(result.parameters / 1e6).toFixed(2)} M parameters, ${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s; ` +
    `validation ${result.validationLoss.toFixed(3)} nats a token (trigram ${result.trigramLoss.toFixed(3)}).\n` +
    `Perplexity under ${values.judge}: ${own.toFixed(2)} for ${written} stories that it wrote, ${real.toFixed(2)} for as many real ones that it never saw.`,
);

/** Of all tokens together, as the judge cuts them. */
async function perplexity(scorer: LanguageModel, stories: readonly string[]): Promise<number> {
  let sum = 0;
  let count = 0;
  for (const { logprobs } of await scorer.score(stories)) {
    for (const logprob of logprobs) {
      if (logprob === null) continue;
      sum -= logprob;
      count++;
    }
  }
  return Math.exp(sum / count);
}

function show(event: JobEvent): void {
  if (event.type === "note") console.log(event.text);
  if (event.type === "progress" && event.done % validateEvery === 0 && event.metrics?.validationLoss !== undefined) {
    const { loss, validationLoss } = event.metrics;
    console.log(
      `step ${event.done} of ${event.total}: loss ${loss!.toFixed(3)}, validation ${validationLoss.toFixed(3)}`,
    );
  }
}
