// From files to examples: masks, lengths, counts, and faults that name their place.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { runJob } from "../../protocol/job.ts";
import { createByteLevelTokenizer, loadTokenizer, trainBpe } from "../../tokenizer/index.ts";
import {
  readExamples,
  readPairs,
  readPrompts,
  readRatings,
  type ExampleOptions,
  type TrainingExample,
} from "./examples.ts";
import { inspectData } from "./inspect.ts";
import type { DataSource } from "./record.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-examples-"));
after(() => rmSync(directory, { recursive: true }));
function write(name: string, ...records: unknown[]): DataSource {
  const path = join(directory, name);
  writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return { path };
}
async function* texts() {
  yield "what colour is the sky? blue.";
}
const tokenizer = createByteLevelTokenizer(await runJob(trainBpe(texts(), { vocabSize: 266 })));
const bos = tokenizer.controlId("<s>")!;
const read = (source: DataSource | readonly DataSource[], options: Partial<ExampleOptions> = {}) =>
  runJob(readExamples(tokenizer, [source].flat() as DataSource[], { maxLength: 64, ...options }));
const learnt = ({ targets }: Pick<TrainingExample, "targets">): string =>
  tokenizer.decode(
    targets.filter((target) => target >= 0),
    { controls: "write" },
  );
const ask = (question: string, answer: string): object => ({ instruction: question, output: answer });

test("texts are learnt whole, between the beginning and the end, and go on where they are long", async () => {
  const text = "x".repeat(100);
  const { examples, report } = await read(write("text.jsonl", { text }), { maxLength: 40 });
  assert.deepEqual(
    examples.map(({ tokens }) => tokens.length),
    [40, 40, 21],
  );
  assert.equal(examples[0]!.tokens[0], bos);
  assert.equal(examples.map(learnt).join(""), `${text}</s>`);
  // A piece begins with the last token's target of the one before.
  assert.equal(examples[1]!.tokens[0], examples[0]!.targets[39]);
  const { examples: count, further, dropped, tokens, trained } = report.sources[0]!;
  assert.deepEqual([count, further, dropped, tokens, trained], [3, 2, 0, 101, 101]);
});

test("negative ids are seen and not learnt", async () => {
  const path = write("train.bin", { tokens: [1, -20, 30, -40] }, { tokens: [5, -6] });
  writeFileSync(path.path, '{"tokens": [1, -20, 30, -0, 0]}\n{"tokens": [5, -6]}\n');
  const { examples, report } = await read(path);
  assert.deepEqual(
    examples.map(({ tokens, targets }) => [[...tokens], [...targets]]),
    [
      [
        [1, 20, 30, 0],
        [-1, 30, -1, 0],
      ],
    ],
  );
  assert.equal(report.untrained, 1);
  const wrong = write("wrong.bin", { tokens: [1, 9999] });
  await assert.rejects(read(wrong), { message: /wrong\.bin, line 1: tokens\[1\] is 9999, and the tokenizer knows/ });
});

test("a dialogue that is too long is left out, cut after an answer, or cut where the length ends", async () => {
  const long = {
    messages: [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
      { role: "user", content: "c".repeat(30) },
      { role: "assistant", content: "d".repeat(30) },
    ],
  };
  const data = write("long.jsonl", long, ask("a", "e"));
  const dropped = await read(data);
  assert.deepEqual(dropped.examples.map(learnt), ["e<|im_end|>"]);
  assert.deepEqual([dropped.report.dropped, dropped.report.cut], [1, 0]);
  const turn = await read(data, { tooLong: "turn" });
  assert.deepEqual(turn.examples.map(learnt), ["b<|im_end|>", "e<|im_end|>"]);
  assert.deepEqual([turn.report.dropped, turn.report.cut], [0, 1]);
  const cut = await read(data, { tooLong: "cut", maxLength: 90 });
  const text = learnt(cut.examples[0]!);
  assert.ok(text.startsWith("b<|im_end|>ddd") && !text.endsWith(">"), text);
  assert.equal(cut.examples[0]!.tokens.length, 90);
  // Nothing of the answer is left.
  const prompt = write("prompt.jsonl", ask("a".repeat(80), "e"), ask("a", "e"));
  assert.equal((await read(prompt, { tooLong: "cut" })).report.untrained, 1);
  assert.equal((await read(prompt, { tooLong: "turn" })).report.dropped, 1);
  await assert.rejects(read(data, { maxLength: 8 }), {
    message: /nothing of at most 8 tokens is left .* 2 are longer/,
  });
});

test("every record is counted once, by source", async () => {
  const silent = { messages: [{ role: "assistant", content: "a", loss: false }] };
  const one = write("one.jsonl", ask("a", "b"), ask("a".repeat(100), "b"), silent, { instruction: 3, output: 4 });
  const two = write("two.jsonl", { text: "t" }, ask("a", "b"));
  const { examples, report } = await read([one, two], { skipBad: true });
  assert.deepEqual(
    report.sources.map(({ records, formats, examples: count, dropped, untrained, bad, further }) => [
      records,
      formats,
      [count - further, dropped, untrained, bad],
    ]),
    [
      [4, { alpaca: 2, messages: 1 }, [1, 1, 1, 1]],
      [2, { text: 1, alpaca: 1 }, [2, 0, 0, 0]],
    ],
  );
  assert.deepEqual(
    examples.map(({ source }) => source),
    [0, 1, 1],
  );
  assert.deepEqual([report.examples, report.bad], [3, 1]);
  assert.equal(
    report.tokens,
    examples.reduce((sum, { tokens }) => sum + tokens.length, 0),
  );
  await assert.rejects(read(write("silent.jsonl", silent)), { message: /nothing in it is learnt/ });
});

test("pairs, rated answers and prompts are encoded with their answers alone as targets", async () => {
  const options = { maxLength: 64 };
  const pairs = await runJob(
    readPairs(
      tokenizer,
      [
        write(
          "pairs.jsonl",
          { prompt: "a", chosen: "b", rejected: "cc" },
          { prompt: "a".repeat(99), chosen: "b", rejected: "c" },
        ),
      ],
      options,
    ),
  );
  const [pair] = pairs.examples;
  assert.deepEqual([learnt(pair!.chosen), learnt(pair!.rejected)], ["b<|im_end|>", "cc<|im_end|>"]);
  assert.deepEqual([pairs.examples.length, pairs.report.dropped], [1, 1]);
  assert.equal(pairs.report.tokens, pair!.chosen.tokens.length + pair!.rejected.tokens.length);
  const rated = await runJob(
    readRatings(tokenizer, [write("rated.jsonl", { prompt: "a", completion: "b", label: false })], options),
  );
  assert.deepEqual([learnt(rated.examples[0]!), rated.examples[0]!.desirable], ["b<|im_end|>", false]);
  const prompts = await runJob(
    readPrompts(tokenizer, [write("prompts.jsonl", { question: "a", answer: "b" })], options),
  );
  const [prompt] = prompts.examples;
  assert.deepEqual(
    prompt!.tokens,
    tokenizer.encodeChat([{ role: "user", content: "a" }], { addGenerationPrompt: true }),
  );
  assert.deepEqual(prompt!.tokens, pair!.chosen.tokens.slice(0, prompt!.tokens.length));
  assert.equal(prompt!.record.reference, "b");
});

test("statistics: what is repeated, exactly and nearly, and not what a weight repeats", async () => {
  const story =
    "Once upon a time there was a little boat that sailed over the wide blue sea to find a friend of its own";
  const path = write(
    "repeated.jsonl",
    ask(story, "b"),
    ask(story, "b"),
    ask(story, "other"),
    ask(`${story} today`, "c"),
    ask("unlike", "d"),
  );
  const options = { maxLength: 256, batchTokens: 512, accumulate: 1 };
  const { statistics } = await runJob(inspectData(tokenizer, [path], options));
  assert.deepEqual(
    [statistics.repeated.examples, statistics.repeated.prompts, statistics.repeated.nearPrompts],
    [1, 2, 1],
  );
  assert.deepEqual(
    statistics.repeated.most.map(({ count, place }) => [count, place.line]),
    [[3, 1]],
  );
  const twice = await runJob(inspectData(tokenizer, [{ ...path, weight: 2 }], options));
  assert.equal(twice.examples.length, 10);
  assert.deepEqual([twice.statistics.repeated.examples, twice.statistics.repeated.prompts], [1, 2]);
});

const tinyllama = process.env["LIANLU_TINYLLAMA"];
const chats = join(import.meta.dirname, "../../../../shared/data/corpora/llama-factory-demo/data/lima.json");
const skip =
  tinyllama === undefined ? "LIANLU_TINYLLAMA names no model" : existsSync(chats) ? false : `there is no ${chats}`;

test("a published set by a published template: every answer and its end, and nothing else", { skip }, async () => {
  const published = loadTokenizer(tinyllama!);
  const { examples, report } = await runJob(
    readExamples(published, [{ path: `${chats}`, limit: 200 }], { maxLength: 4096 }),
  );
  assert.ok(report.examples > 180);
  for (const { tokens, targets } of examples) {
    const text = published.decode(tokens, { controls: "write" });
    const answers = text
      .split("<|assistant|>\n")
      .slice(1)
      .map((part) => part.split("</s>")[0]!);
    const said = published.decode(
      targets.filter((target) => target >= 0),
      { controls: "write" },
    );
    assert.equal(said.replaceAll("</s>", ""), answers.join(""));
    assert.equal(said.split("</s>").length - 1, answers.length);
  }
});
