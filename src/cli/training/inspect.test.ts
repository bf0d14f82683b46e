// `lianlu finetune inspect` on a tiny checkpoint: the mask that is shown is the one that is trained on.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder, saveCheckpoint } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { runJob } from "../../protocol/job.ts";
import { createByteLevelTokenizer, loadTokenizer, saveTokenizer, trainBpe } from "../../tokenizer/index.ts";
import { jsonLines, refused, run } from "../test-command.ts";
import { inspectCommand, type InspectCommandOptions } from "./inspect.ts";
import { showExample, showTokens } from "../ui/show-example.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-inspect-"));
after(() => rmSync(directory, { recursive: true }));
const model = join(directory, "model");
const data = join(directory, "data.jsonl");

before(async () => {
  async function* texts() {
    yield "what colour is the sky? blue. and the grass? green. 天空";
  }
  const tokenizerData = await runJob(trainBpe(texts(), { vocabSize: 290 }));
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const config = tinyConfig("internlm2", { vocabSize: tokenizer.vocabSize, maxPositions: 128 });
  mkdirSync(model);
  saveTokenizer(model, tokenizerData);
  saveCheckpoint(model, initializeDecoder(loadKernels(), config, 1), model);
  const ask = (content: string, answer: string): object => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: answer },
    ],
  });
  const records = [
    ask("what colour is the sky?", "blue"),
    ask("what colour is the sky?", "blue"),
    ask("what colour is the grass?", "green\n天"),
    ask("what colour is the grass? say it", ""),
    ask("x".repeat(300), "too long"),
    { text: "a text to learn" },
    { messages: [] },
  ];
  writeFileSync(data, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
});

/** What is printed, and the result. */
async function inspect(more: Partial<InspectCommandOptions> = {}) {
  const lines: string[] = [];
  const result = await inspectCommand(
    {
      model,
      data: [{ path: data }],
      examples: { skipBad: true },
      batchTokens: 128,
      accumulate: 1,
      seed: 1,
      purpose: "tune",
      index: 0,
      ids: false,
      ...more,
    },
    { signal: new AbortController().signal, report: () => {}, print: (text) => void lines.push(text) },
  );
  return { ...result, out: lines.join("\n") };
}

test("statistics and an example are printed", async () => {
  const { out } = await inspect({ index: 2 });
  assert.match(out, /Example 2 of 5: .*data\.jsonl, line 3, read as messages/);
  assert.match(out, /messages 5, text 1 +7 +5 /);
  assert.match(out, /Repeated {4}1 example, 1 prompt; /);
  assert.match(out, /2 times "what colour is the sky\?" \(first: .*line 1\)/);
  assert.match(out, /Empty {7}1 example with an answer that says nothing/);
  assert.match(out, /Bad .*line 7: messages: the list is empty/);
  const shown = out.slice(out.indexOf("in brackets.")).replaceAll("·", "");
  assert.match(shown, /<\|im_start\|>assistant⏎\n\[green⏎\n(天|⟨e5⟩⟨a4⟩⟨a9⟩)<\|im_end\|>\]/);
});

test("as data: ids, the mask and figures", async () => {
  const outcome = await run([
    "finetune",
    "inspect",
    model,
    "--data",
    data,
    "--skip-bad",
    "--accumulate",
    "2",
    "--json",
  ]);
  const { result } = jsonLines(outcome).at(-1) as { result: Awaited<ReturnType<typeof inspect>> };
  const { statistics, example } = result;
  const { examples, dropped, bad, emptyAnswers, epoch, lengths } = statistics;
  assert.deepEqual([examples, dropped, bad, emptyAnswers], [5, 1, 1, 1]);
  assert.equal(epoch.steps, Math.ceil(epoch.batches / 2));
  assert.equal(
    lengths.histogram.reduce((sum, { count }) => sum + count, 0),
    5,
  );
  const learnt = example.parts[0]!.targets.filter((target) => target >= 0);
  assert.equal(loadTokenizer(model).decode(learnt, { controls: "write" }), "blue<|im_end|>");
});

test("pairs are shown with both of their sides", async () => {
  const pairs = join(directory, "pairs.jsonl");
  writeFileSync(pairs, `${JSON.stringify({ prompt: "what colour is the sky?", chosen: "blue", rejected: "green" })}\n`);
  const { out, example } = await inspect({ data: [{ path: pairs }], purpose: "pair" });
  assert.deepEqual(
    example.parts.map(({ name }) => name),
    ["chosen", "rejected"],
  );
  assert.match(out.replaceAll("·", ""), /, chosen; [^[]*\[blue<\|im_end\|>\]/);
  assert.match(out.replaceAll("·", ""), /, rejected; [^[]*\[green<\|im_end\|>\]/);
  await assert.rejects(inspect({ data: [{ path: pairs }], examples: {} }), /It looks like preference pairs/);
});

test("what is wrong is said", async () => {
  await assert.rejects(inspect({ examples: {} }), { kind: "input", message: /line 7: messages: the list is empty/ });
  await assert.rejects(inspect({ index: 9 }), { kind: "usage", message: /there are 5 examples/ });
  await refused(["finetune", "inspekt", model, "--data", data], 2, /"inspekt" is nothing that is done with data/);
  await refused(["finetune", model, "--data", data, "--epochs", "1"], 2, /--out DIR is needed/);
});

test("marks and colours tell what is learnt, and no text steers the terminal", () => {
  const tokenizer = loadTokenizer(model);
  const end = tokenizer.controlId("<|im_end|>")!;
  const ids = [...tokenizer.encode("a\u001b[31m"), ...tokenizer.encode("b"), end];
  const tokens = Int32Array.from(ids.slice(0, -1));
  const targets = tokens.map((_, index) => (index >= ids.length - 3 ? ids[index + 1]! : -1));
  const plain = showExample(tokenizer, { tokens, targets }, "plain");
  assert.match(plain, /\na·\uFFFD·\[·3·1·m\[b·<\|im_end\|>\]$/);
  const coloured = showExample(tokenizer, { tokens, targets }, "colours");
  assert.ok(coloured.includes(`\u001b[1;33m<|im_end|>\u001b[0m`));
  assert.ok(!coloured.includes("\u001b[31m"));
  const lines = showTokens(tokenizer, { tokens, targets }, "plain").split("\n");
  assert.equal(lines.length, ids.length);
  assert.match(lines.at(-1)!, new RegExp(`^${ids.length - 1} +${end} \\+ <\\|im_end\\|>$`));
});
