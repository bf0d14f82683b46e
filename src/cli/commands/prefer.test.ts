// `lianlu prefer`: options that do not belong together are refused before anything is read.
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "../test-command.ts";

/** No checkpoint, but a directory: nothing is looked at in it. */
const words = ["prefer", import.meta.dirname, "--data", "x.jsonl", "--out", "nothing", "--steps", "1"];

for (const [more, expected] of [
  [["--loss", "focal"], /--loss focal is no loss of dpo.*Expected one of: sigmoid, robust/s],
  [["--method", "kto", "--label-smoothing", "0.1"], /--label-smoothing has no meaning for kto; it is for dpo/],
  [["--verifier", "number"], /--verifier has no meaning for dpo/],
  [["--method", "grpo", "--verifier", "numbers"], /no verifier "numbers".*exact, format, json, number, reward/s],
] as const) {
  test(more.join(" "), async () => {
    const { code, errors } = await run([...words, ...more]);
    assert.equal(code, 2);
    assert.match(errors, expected);
  });
}
