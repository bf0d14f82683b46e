// node recipes/shakespeare/main.ts [--steps 2000] [--out runs/shakespeare] [--text FILE]
// nanoGPT's character model for a CPU, in its size: 4 layers of 128, pieces of 64 characters, 12 a batch, 2,000 steps.
// Its author reports a validation loss of 1.88 nats a character on the last tenth of the text; this prints ours.
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createTokenWriter, writeArtifact } from "../../src/formats/index.ts";
import { load } from "../../src/engine/index.ts";
import { collect, Failure, runJob } from "../../src/protocol/index.ts";
import { loadTokenizer, saveTokenizer, trainBpe } from "../../src/tokenizer/index.ts";
import { pretrain } from "../../src/train/index.ts";

const { values } = parseArgs({
  options: {
    steps: { type: "string", default: "2000" },
    out: { type: "string", default: "runs/shakespeare" },
    text: { type: "string", default: "../shared/data/corpora/tinyshakespeare/data/tinyshakespeare/input.txt" },
  },
});
/** Characters seen at once, and such pieces a batch. */
const length = 64;
const pieces = 12;
const target = 1.88;
const validateEvery = 250;

if (!existsSync(values.text)) {
  throw new Failure("input", `${values.text} is not there.`, "Give tinyshakespeare's input.txt with --text.");
}
const text = readFileSync(values.text, "utf8");
const tokens = join(values.out, "tokens");
rmSync(values.out, { recursive: true, force: true });
await writeCharacters(tokens);
const started = performance.now();
const result = await runJob(
  pretrain({
    tokens,
    out: join(values.out, "model"),
    until: { steps: Number(values.steps) },
    model: { family: "llama", hiddenSize: 128, layers: 4, heads: 4, kvHeads: 4, intermediateSize: 344 },
    length,
    batchTokens: pieces * length,
    validateEvery,
    snapshotEvery: 500,
  }),
  (event) => {
    if (event.type === "note") console.log(event.text);
    if (event.type === "progress" && event.done % validateEvery === 0 && event.metrics?.validationLoss !== undefined) {
      console.log(
        `step ${event.done}: loss ${event.metrics.loss!.toFixed(3)}, validation ${event.metrics.validationLoss.toFixed(3)}`,
      );
    }
  },
);
const seconds = (performance.now() - started) / 1000;
const model = await load(join(values.out, "model"));
const { text: sample } = await collect(
  model.generate({ input: { prompt: "\nROMEO:" }, maxTokens: 50, temperature: 0.8, seed: 1 }),
);
await model.close();
console.log(
  `ROMEO:${sample}\n\n${(result.parameters / 1e6).toFixed(2)} M parameters, ${result.steps} steps in ${seconds.toFixed(0)} s ` +
    `(${Math.round(result.tokensPerSecond)} characters/s). Validation loss ${result.validationLoss.toFixed(4)} nats a character ` +
    `(to reach: ${target}).`,
);
process.exitCode = result.validationLoss <= target ? 0 : 1;

/** Bytes as tokens, without merges: of this text every character is one. Pieces of `length`, the first nine tenths to train on. */
async function writeCharacters(out: string): Promise<void> {
  async function* nothing() {
    yield "ab";
  }
  const data = await runJob(trainBpe(nothing(), { vocabSize: 265 }));
  await writeArtifact(out, { kind: "tokens", options: { length }, seed: 0 }, (directory) => {
    saveTokenizer(directory, data);
    const tokenizer = loadTokenizer(directory);
    const ids = tokenizer.encode(text);
    if (ids.length !== text.length) throw new Failure("input", `${values.text} is not plain ASCII.`);
    const border = Math.floor(0.9 * ids.length);
    const shape = { vocabSize: tokenizer.vocabSize, tokenizerId: tokenizer.id };
    for (const [split, part] of [
      ["train", ids.subarray(0, border)],
      ["validation", ids.subarray(border)],
    ] as const) {
      const writer = createTokenWriter(directory, split, shape);
      // One more than a piece: the last character of each is only predicted, and begins the next.
      for (let begin = 0; begin + 1 < part.length; begin += length) {
        writer.append(part.subarray(begin, begin + length + 1));
      }
      writer.close();
    }
    return Promise.resolve({});
  });
}
