import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { readManifest } from "../formats/manifest.ts";
import { Failure, type GenerateRequest, type LanguageModel, runJob } from "../protocol/index.ts";
import {
  compareRuns,
  evaluate,
  type EvaluateOptions,
  formatReport,
  loadTask,
  readRun,
  type TaskSettings,
} from "./index.ts";

const good = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。";
const unregulated = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。";
const settings: TaskSettings = { samples: 40, seed: 1, temperature: 0.7, topP: 0.9 };

interface Mock extends LanguageModel {
  calls: number;
  underWay: number;
  mostUnderWay: number;
}

/** Answers by a function; every character is a token of probability 1/8, after a BOS. */
function mock(
  answer: (request: GenerateRequest, call: number) => string | Promise<string>,
  contextLength = 1000,
): Mock {
  const model: Mock = {
    id: "mock",
    contextLength,
    calls: 0,
    underWay: 0,
    mostUnderWay: 0,
    async *generate(request) {
      const call = ++model.calls;
      model.mostUnderWay = Math.max(model.mostUnderWay, ++model.underWay);
      try {
        await new Promise((resolve) => setImmediate(resolve));
        request.signal?.throwIfAborted();
        yield { type: "text-delta", text: await answer(request, call) };
        yield { type: "finish", reason: "stop", usage: { promptTokens: 1, completionTokens: 1 } };
      } finally {
        model.underWay--;
      }
    },
    score(texts) {
      return Promise.resolve(
        texts.map((text) => {
          model.calls++;
          const characters = [...text];
          if (characters.length + 1 > contextLength) throw new Failure("input", "too long");
          return {
            tokens: [0, ...characters.map((_, index) => index)],
            logprobs: [null, ...characters.map(() => -Math.log(8))],
            offsets: [0, ...characters.keys()],
          };
        }),
      );
    },
    close: () => Promise.resolve(),
  };
  return model;
}

function folderOf(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "evaluate-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const run = (folder: string, model: LanguageModel, options: Partial<EvaluateOptions> = {}) =>
  runJob(evaluate({ model, tasks: ["quatrain"], settings, out: join(folder, "report"), ...options }));
const valueOf = (report: Awaited<ReturnType<typeof run>>, name: string) =>
  report.tasks.flatMap(({ metrics }) => metrics).find(({ metric }) => metric.name === name)!;

test("quatrain: shares by rule with Wilson's intervals, and an artifact", async (context) => {
  const folder = folderOf(context);
  const model = mock((_, call) => (call % 4 === 0 ? "不是诗" : call % 2 === 0 ? unregulated : good));
  const report = await run(folder, model);
  assert.deepEqual(report.tasks[0]!.coverage, { samples: 40, scored: 40, failed: 0 });
  assert.equal(valueOf(report, "form").value, 0.75);
  assert.equal(valueOf(report, "rhyme").value, 0.75);
  assert.equal(valueOf(report, "tones").value, 0.5);
  const all = valueOf(report, "all");
  assert.equal(all.value, 0.5);
  assert.ok(all.low > 0.34 && all.low < 0.36 && all.high > 0.64 && all.high < 0.66);
  assert.ok(model.mostUnderWay > 1 && model.mostUnderWay <= 8);
  const manifest = readManifest(join(folder, "report"), "evaluation");
  assert.equal((manifest.metrics["quatrain"] as { scored: number }).scored, 40);
  assert.ok(!existsSync(join(folder, "report.results.jsonl")));
  assert.match(readFileSync(join(folder, "report", "report.txt"), "utf8"), /tones +50\.0% +95% 35\.2% to 64\.8%/);
});

test("quatrain: titles are asked for in the wording of the instructions, each sample with its own seed", async (context) => {
  const folder = folderOf(context);
  const titles = join(folder, "titles.jsonl");
  writeFileSync(
    titles,
    ["秋山", "秋山", "夜雨"].map((title) => `${JSON.stringify({ messages: [], meta: { title } })}\n`).join(""),
  );
  const asked: [string, number][] = [];
  const model = mock((request) => {
    assert.ok("messages" in request.input);
    asked.push([request.input.messages[0]!.content, request.seed!]);
    return good;
  });
  await run(folder, model, { settings: { ...settings, samples: 4, titles }, concurrency: 1 });
  assert.deepEqual([...new Set(asked.map(([request]) => request))].toSorted(), [
    "以《夜雨》为题写一首五言绝句",
    "以《秋山》为题写一首五言绝句",
  ]);
  assert.deepEqual(
    asked.map(([, seed]) => seed),
    [1, 2, 3, 4],
  );
});

test("perplexity: bits a byte and perplexity of a model whose probabilities are known, long texts in pieces", async (context) => {
  const folder = folderOf(context);
  const text = join(folder, "texts.jsonl");
  const texts = ["白日依山尽", "abcdefgh", "一二三四五 六七八九十 ".repeat(40)];
  writeFileSync(text, texts.map((value, index) => `${JSON.stringify({ id: `d${index}`, text: value })}\n`).join(""));
  const report = await run(
    folder,
    mock(() => "", 64),
    { tasks: ["perplexity"], settings: { ...settings, text } },
  );
  const all = texts.join("");
  assert.equal(report.tasks[0]!.coverage.scored, 3);
  assert.ok(Math.abs(valueOf(report, "perplexity").value - 8) < 1e-9);
  assert.ok(Math.abs(valueOf(report, "bits-per-byte").value - (3 * all.length) / Buffer.byteLength(all)) < 1e-9);
  assert.ok(valueOf(report, "bits-per-byte").low < valueOf(report, "bits-per-byte").high);
});

test("perplexity says what text it needs", async (context) => {
  const folder = folderOf(context);
  for (const text of [undefined, join(folder, "absent")]) {
    const options = { tasks: ["perplexity"], settings: { ...settings, ...(text === undefined ? {} : { text }) } };
    await assert.rejects(
      run(
        folder,
        mock(() => ""),
        options,
      ),
      (error: Failure) => error.kind === "usage",
    );
  }
  const broken = join(folder, "broken.jsonl");
  writeFileSync(broken, '{"text": "a"}\n{"txt": "b"}\n');
  await assert.rejects(
    run(
      folder,
      mock(() => ""),
      { tasks: ["perplexity"], settings: { ...settings, text: broken } },
    ),
    /broken\.jsonl:2/,
  );
});

test("a sample that fails is counted and named, and the others are scored", async (context) => {
  const folder = folderOf(context);
  const model = mock((_, call) => {
    if (call % 10 === 0) throw new Error("out of luck");
    return good;
  });
  const report = await run(folder, model);
  assert.deepEqual(report.tasks[0]!.coverage, { samples: 40, scored: 36, failed: 4 });
  assert.equal(report.tasks[0]!.failures[0]!.error, "out of luck");
  assert.match(formatReport(report), /36 of 40 samples scored, 4 FAILED/);
});

test("a run in which nothing can be scored is an error, not an empty report", async (context) => {
  const folder = folderOf(context);
  const model = mock(() => {
    throw new Error("connection refused");
  });
  await assert.rejects(
    run(folder, model),
    (error: Failure) => error.kind === "input" && /connection refused/.test(error.message),
  );
  assert.ok(!existsSync(join(folder, "report")));
});

test("a sample that never answers fails at its time limit", async (context) => {
  const folder = folderOf(context);
  const model = mock((request, call) => {
    if (call !== 2) return good;
    return new Promise((_, reject) => request.signal!.addEventListener("abort", () => reject(request.signal!.reason)));
  });
  const report = await run(folder, model, { timeoutMs: 200 });
  assert.equal(report.tasks[0]!.coverage.failed, 1);
  assert.match(report.tasks[0]!.failures[0]!.error, /no answer in 200 ms/);
});

test("an interrupted run goes on where it was and gives the report of a run left alone", async (context) => {
  const folder = folderOf(context);
  const answer = (request: GenerateRequest) => (request.seed! % 3 === 0 ? unregulated : good);
  const alone = await run(folder, mock(answer), { out: join(folder, "alone") });

  const abort = new AbortController();
  const first = mock((request, call) => {
    if (call === 15) abort.abort(new Error("interrupted"));
    return answer(request);
  });
  await assert.rejects(run(folder, first, { signal: abort.signal, concurrency: 2 }), /interrupted/);
  const log = join(folder, "report.results.jsonl");
  assert.ok(existsSync(log) && !existsSync(join(folder, "report")));
  // A line that a crash cut short.
  appendFileSync(log, '{"key": "abc", "task": "qua');

  const second = mock(answer);
  const resumed = await run(folder, second);
  assert.ok(second.calls > 0 && second.calls < 30, `${second.calls} calls`);
  assert.deepEqual(resumed, alone);
  assert.equal(
    readFileSync(join(folder, "report", "results.jsonl"), "utf8"),
    readFileSync(join(folder, "alone", "results.jsonl"), "utf8"),
  );
});

test("results of another model, temperature or titles are never taken over", async (context) => {
  const folder = folderOf(context);
  const stop = async (options: Partial<EvaluateOptions>) => {
    const abort = new AbortController();
    const model = mock((_, call) => {
      if (call === 20) abort.abort(new Error("interrupted"));
      return good;
    });
    await assert.rejects(run(folder, model, { ...options, signal: abort.signal }), /interrupted/);
  };
  await stop({ modelIdentity: "a" });
  const other = mock(() => unregulated);
  const report = await run(folder, other, { modelIdentity: "b" });
  assert.equal(other.calls, 40);
  assert.equal(valueOf(report, "all").value, 0);
  await stop({ modelIdentity: "a" });
  const warmer = mock(() => good);
  await run(folder, warmer, { modelIdentity: "a", settings: { ...settings, temperature: 1 } });
  assert.equal(warmer.calls, 40);
});

test("a comparison pairs samples: better, worse, tie", async (context) => {
  const folder = folderOf(context);
  const [before, after] = [join(folder, "before"), join(folder, "after")];
  await run(
    folder,
    mock((request) => (request.seed! % 10 === 0 ? good : "无")),
    { out: before },
  );
  const report = await run(
    folder,
    mock((request) => (request.seed! % 10 === 1 ? unregulated : good)),
    {
      out: after,
      compareWith: before,
    },
  );
  const comparison = new Map(report.comparison!.metrics.map((row) => [row.metric.name, row]));
  const form = comparison.get("form")!;
  assert.deepEqual([form.pairs, form.before, form.after, form.verdict], [40, 0.1, 1, "better"]);
  assert.ok(form.low > 0.7 && form.pValue! < 1e-9);
  assert.match(formatReport(report), /quatrain rhyme: 10\.0% -> 100\.0%, \+90\.0% .*: better/);

  const worse = compareRuns(await readRun(after), await readRun(before));
  assert.equal(worse.find(({ metric }) => metric.name === "form")!.verdict, "worse");
  const tie = compareRuns(await readRun(after), await readRun(after));
  assert.ok(tie.every(({ verdict, difference }) => verdict === "tie" && difference === 0));
});

test("perplexities are compared by a paired bootstrap, and reports without common samples are refused", async (context) => {
  const folder = folderOf(context);
  const text = join(folder, "texts.jsonl");
  writeFileSync(
    text,
    Array.from({ length: 30 }, (_, index) => `${JSON.stringify({ text: "诗".repeat(5 + index) })}\n`).join(""),
  );
  const plain = mock(() => "");
  const sharper: LanguageModel = {
    ...mock(() => ""),
    score: async (texts) =>
      (await plain.score(texts)).map((scored) => ({
        ...scored,
        logprobs: scored.logprobs.map((value) => value && value * 0.9),
      })),
  };
  const [before, after] = [join(folder, "before"), join(folder, "after")];
  const options = { tasks: ["perplexity"], settings: { ...settings, text } };
  await run(folder, plain, { ...options, out: before });
  const report = await run(folder, sharper, { ...options, out: after, compareWith: before });
  for (const { verdict, difference, low, high } of report.comparison!.metrics) {
    assert.equal(verdict, "better");
    assert.ok(low <= difference && difference <= high && high < 0);
  }
  await assert.rejects(
    run(
      folder,
      mock(() => good),
      { out: join(folder, "other"), compareWith: before },
    ),
    (error: Failure) => error.kind === "usage" && /share no samples/.test(error.message),
  );
});

test("tasks are found by name or path", async (context) => {
  const folder = folderOf(context);
  await assert.rejects(
    loadTask("gsm9k"),
    (error: Failure) => error.kind === "usage" && /perplexity, quatrain/.test(error.hint!),
  );
  const own = join(folder, "echo.ts");
  writeFileSync(
    own,
    `export default {
      summary: "says it again", scorer: { name: "equal", version: 1 },
      metrics: [{ name: "equal", title: "equal", kind: "share", value: "equal" }],
      samples: () => [{ id: "a", data: "a" }, { id: "b", data: "b" }],
      ask: ({ data }) => ({ kind: "generate", request: { input: { prompt: data } } }),
      score: (answer, { data }) => ({ values: { equal: Number(answer.text === data) } }),
    };`,
  );
  const report = await run(
    folder,
    mock(() => "a"),
    { tasks: [own] },
  );
  assert.equal(valueOf(report, "equal").value, 0.5);
  const empty = join(folder, "empty.ts");
  writeFileSync(empty, "export default {};");
  await assert.rejects(loadTask(empty), (error: Failure) => error.kind === "usage");
});
