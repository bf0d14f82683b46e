import assert from "node:assert/strict";
import { test } from "node:test";
import { retentionSvg, retentionText } from "./chart.ts";
import { openLedger } from "./ledger.ts";

function filled() {
  const book = openLedger();
  for (let index = 0; index < 10; index += 1) book.read(index < 8 ? "a" : "b");
  book.quarantine("a", "broken JSON: Unexpected end");
  book.drop("a", "rules", "length");
  book.drop("b", "exact", "duplicate");
  book.drop("a", "near", "duplicate");
  for (let index = 0; index < 6; index += 1) book.keep(index < 5 ? "a" : "b");
  return book;
}
const written = { kept: 6, dropped: 3, quarantined: 1 };

test("the ledger adds up for each source and each step", () => {
  const ledger = filled().close(written);
  assert.deepEqual([ledger.input, ledger.kept, ledger.quarantined], [10, 6, 1]);
  assert.deepEqual(ledger.dropped, { "rules/length": 1, "near/duplicate": 1, "exact/duplicate": 1 });
  assert.deepEqual(ledger.sources["b"], { input: 2, kept: 1, quarantined: 0, dropped: { "exact/duplicate": 1 } });
  assert.deepEqual(
    ledger.steps.map(({ step, input, output }) => [step, input, output]),
    [
      ["format", 10, 9],
      ["rules", 9, 8],
      ["exact", 8, 7],
      ["near", 7, 6],
    ],
  );
});

test("a record that is lost, counted twice or not written is an error", () => {
  const lost = filled();
  lost.read("b");
  assert.throws(() => lost.close(written), /does not add up for source b: 3 against 2/);
  const twice = filled();
  twice.keep("a");
  assert.throws(() => twice.close({ ...written, kept: 7 }), /does not add up for source a/);
  assert.throws(() => filled().close({ ...written, kept: 5 }), /documents written: 6 against 5/);
  assert.throws(() => filled().close({ ...written, dropped: 2 }), /dropped/);
  assert.throws(() => filled().close({ ...written, quarantined: 0 }), /quarantine/);
});

test("the chart has five bars, as text and as SVG", () => {
  const ledger = filled().close(written);
  const text = retentionText(ledger, 10);
  assert.equal(text.length, 5);
  assert.match(text[4]!, /^Near duplicates +█{6}░{4} +60\.0% +6 +-14\.3%$/);
  const svg = retentionSvg(ledger);
  assert.equal(svg.match(/<rect /g)?.length, 5);
  assert.match(svg, />80\.0%<.*>Rules<.*removes 11\.1%/s);
});
