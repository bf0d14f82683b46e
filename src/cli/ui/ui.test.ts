import assert from "node:assert/strict";
import { test } from "node:test";
import { drawCurve } from "./curve.ts";
import { createReporter } from "./reporter.ts";
import { formatBytes, formatNumber, formatSeconds, table } from "./table.ts";
import { displayWidth, pad, truncate, wrap } from "./width.ts";

test("Han characters take two columns, combining marks and colours none", () => {
  assert.equal(displayWidth("abc"), 3);
  assert.equal(displayWidth("春眠不覺曉，"), 12);
  assert.equal(displayWidth("𠀀"), 2);
  assert.equal(displayWidth("e\u0301"), 1);
  assert.equal(displayWidth("\u001B[31mred\u001B[0m"), 3);
});

test("cutting and padding go by columns and never split a wide character", () => {
  assert.equal(truncate("春眠不覺曉", 10), "春眠不覺曉");
  assert.equal(truncate("春眠不覺曉", 9), "春眠不覺…");
  assert.equal(truncate("春眠不覺曉", 8), "春眠不…");
  assert.equal(pad("春", 4), "春  ");
  assert.equal(pad("7", 3, "left"), "  7");
  assert.equal(wrap("one two three four", 9, "  "), "one two\n  three\n  four");
});

test("tables align wide text and put numbers right", () => {
  const lines = table(
    ["题", "count"],
    [
      ["春望", 12],
      ["a", 1234],
    ],
  ).split("\n");
  assert.deepEqual(lines, ["题    count", "────  ─────", "春望     12", "a     1,234"]);
});

test("figures are short", () => {
  assert.deepEqual([0, 3.1234, 0.04567, 12345.6, 42, 1e-9].map(formatNumber), [
    "0",
    "3.123",
    "0.0457",
    "12,346",
    "42",
    "1.00e-9",
  ]);
  assert.deepEqual([0, 999, 17_300_000, 1.5e9].map(formatBytes), ["0 B", "999 B", "17.3 MB", "1.5 GB"]);
  assert.deepEqual([0, 59.6, 185, 7800].map(formatSeconds), ["0 s", "1 m 00 s", "3 m 05 s", "2 h 10 m"]);
});

test("a falling line goes from the upper left to the lower right", () => {
  const lines = drawCurve(
    [
      { x: 0, y: 4 },
      { x: 10, y: 2 },
    ],
    { width: 20, height: 3 },
  );
  assert.equal(lines.length, 3);
  for (const line of lines) assert(displayWidth(line) <= 20, line);
  assert.match(lines[0]!, /^4 ┤[^\u2800]/u);
  assert.match(lines[2]!, /^2 ┤\u2800.*[^\u2800]$/u);
  // Two columns of dots a character, and no gap: every character column has a dot in some row.
  const columns = lines.map((line) => Array.from(line.slice(3)));
  for (let column = 0; column < columns[0]!.length; column++) {
    assert(
      columns.some((row) => row[column] !== "\u2800"),
      `column ${column}`,
    );
  }
});

test("a curve without two finite points is empty, and a flat one does not divide by zero", () => {
  assert.deepEqual(
    drawCurve(
      [
        { x: 0, y: NaN },
        { x: 1, y: 2 },
      ],
      { width: 40, height: 4 },
    ),
    [],
  );
  assert.equal(
    drawCurve(
      [
        { x: 0, y: 2 },
        { x: 1, y: 2 },
      ],
      { width: 40, height: 4 },
    ).length,
    4,
  );
});

function recorder(interactive: boolean) {
  let time = 0;
  let written = "";
  const reporter = createReporter({
    write: (text) => void (written += text),
    interactive,
    columns: () => 70,
    now: () => time,
  });
  return { reporter, advance: (ms: number) => void (time += ms), text: () => written };
}

test("without a terminal: a line every five seconds, one at the end, no control characters", () => {
  const { reporter, advance, text } = recorder(false);
  for (let done = 0; done < 100; done += 5) {
    reporter.report({
      type: "progress",
      step: "train",
      done,
      total: 100,
      unit: "steps",
      metrics: { loss: 5 - done / 50, tokensPerSecond: 9012.4 },
    });
    advance(1_000);
  }
  reporter.report({ type: "note", text: "almost" });
  reporter.report({ type: "progress", step: "train", done: 100, total: 100, unit: "steps", metrics: { loss: 3 } });
  reporter.close();
  const lines = text().trimEnd().split("\n");
  assert.equal(lines.length, 5);
  assert.equal(lines[0], "train:  25%  25 of 100 steps  15 s left  loss 4.500  9,012 tokens/s");
  assert.equal(lines[3], "almost");
  assert.equal(lines[4], "train: 100 steps in 20 s  loss 3");
  assert(!text().includes("\u001B"));
});

test("on a terminal: bars stay within the width, and are erased before anything else is written", () => {
  const { reporter, advance, text } = recorder(true);
  reporter.report({ type: "progress", step: "读取", done: 1, total: 3, unit: "documents", metrics: { loss: 3 } });
  advance(1_000);
  reporter.report({ type: "progress", step: "读取", done: 2, total: 3, unit: "documents", metrics: { loss: 2 } });
  const before = text();
  for (const line of before.split("\n")) assert(displayWidth(line) <= 70, line);
  assert.match(before, /█/);
  assert.match(before, /1 s left/);
  reporter.report({ type: "note", text: "hello" });
  // One bar, the figures that do not fit beside it, and six lines of the curve.
  assert.equal(text().slice(before.length), "\u001B[8F\u001B[Jhello\n");
  reporter.close();
  assert.match(text(), /读取: 2 documents in 1 s  loss 2\n$/);
});

test("a training run on a narrow terminal: every figure is there, in its unit, and no line is too wide", () => {
  let written = "";
  let time = 0;
  const reporter = createReporter({
    write: (text) => void (written = text),
    interactive: true,
    columns: () => 40,
    now: () => time,
  });
  const metrics = {
    loss: 4.18,
    learningRate: 3e-4,
    gradientNorm: 1.234,
    validationLoss: 3.21,
    tokensPerSecond: 9012.3,
    mfu: 0.643,
    residentBytes: 1.23e9,
    "loss/wiki": 3.3,
  };
  for (const done of [10, 20]) {
    reporter.report({ type: "progress", step: "pretrain", done, total: 100, unit: "steps", metrics });
    time += 1_000;
  }
  for (const figure of [
    "loss 4.180",
    "learning rate 3.00e-4",
    "gradient norm 1.234",
    "validation loss 3.210",
    "9,012 tokens/s",
    "MFU 64%",
    "memory 1.2 GB",
    "loss/wiki 3.300",
    "8 s left",
  ]) {
    assert.ok(written.includes(figure), `${figure} in\n${written}`);
  }
  for (const line of written.split("\n")) assert(displayWidth(line) <= 40, line);
  reporter.close();
  // What is left on the screen is a line without the parts of figures.
  assert.match(written, /^pretrain: 20 steps in 2 s {2}loss 4\.180 .*memory 1\.2 GB\n$/);
});

test("streamed text is not broken by a bar, and its line is ended before one", () => {
  const { reporter, text } = recorder(true);
  reporter.report({ type: "text", text: "白日" });
  reporter.report({ type: "text", text: "依山尽" });
  reporter.report({ type: "progress", step: "write", done: 1, total: 2, unit: "poems" });
  assert(text().startsWith("白日依山尽\nwrite"));
  reporter.close();
});
