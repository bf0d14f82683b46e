// Verifiers: those that come with the product, a user's own, and what is refused.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { judgeAnswer, loadVerifier, verifierNames } from "./verifier.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-verifier-"));
after(() => rmSync(directory, { recursive: true }));

async function rewardOf(text: string, answer: string, reference?: string): Promise<number> {
  const { reward } = await judgeAnswer([await loadVerifier(text)], { prompt: [], answer, reference, fields: {} });
  return reward;
}

test("built-in verifiers", async () => {
  assert.deepEqual(verifierNames(), ["exact", "format", "json", "number", "reward"]);
  assert.equal(await rewardOf("number", "so it is 1,234.", "She has #### 1234"), 1);
  assert.equal(await rewardOf("number", "-3 or 4", "3"), 0);
  assert.equal(await rewardOf("number", "none", "none"), 0);
  assert.equal(await rewardOf("exact", " yes\n", "yes"), 1);
  assert.equal(await rewardOf("format:^<a>.*</a>$", "<a>\n</a>"), 1);
  assert.equal(await rewardOf("0.25*format:^b=1", "b=1"), 0.25);
  assert.equal(await rewardOf("json", '{"a": [1]}'), 1);
  assert.equal(await rewardOf("json", "{a}"), 0);
});

test("a file of one's own, and what is refused", async () => {
  const file = join(directory, "verify.ts");
  writeFileSync(file, "export default { summary: 'length', verify: ({ answer }) => answer.length };");
  assert.equal(await rewardOf(`0.5*${file}`, "four"), 2);
  const broken = join(directory, "broken.ts");
  writeFileSync(broken, "export default 3;");
  await assert.rejects(loadVerifier(broken), /is no verifier/);
  await assert.rejects(loadVerifier("numbers"), /no verifier "numbers"/);
  await assert.rejects(loadVerifier("format"), /regular expression/);
  await assert.rejects(loadVerifier("format:("), /Invalid regular expression/);
  await assert.rejects(loadVerifier("reward"), /needs the directory/);
  await assert.rejects(loadVerifier(`reward:${directory}`), /no config.json/);
  const nan = join(directory, "nan.ts");
  writeFileSync(nan, "export default { summary: '', verify: () => NaN };");
  await assert.rejects(rewardOf(nan, ""), /gave NaN/);
  const throwing = join(directory, "throwing.ts");
  writeFileSync(throwing, "export default { summary: '', verify: ({ reference }) => reference.length };");
  await assert.rejects(rewardOf(throwing, "x"), /throwing.ts failed at the answer "x"/);
});
