import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeArtifact } from "../../formats/manifest.ts";
import { openTokens } from "../../formats/token-shards.ts";
import { Failure } from "../../protocol/errors.ts";
import command from "./tokenize.ts";

const root = mkdtempSync(join(tmpdir(), "tokenize-command-"));
after(() => rmSync(root, { recursive: true }));

async function makeCorpus(name: string, texts: readonly string[]): Promise<string> {
  const dir = join(root, name);
  await writeArtifact(dir, { kind: "corpus", options: {}, seed: 0 }, async (partialDir) => {
    const lines = texts.map((text, index) => JSON.stringify({ id: `poem-${index}`, text, meta: { source: "test" } }));
    writeFileSync(join(partialDir, "documents-00000.jsonl"), lines.map((line) => `${line}\n`).join(""));
    return { documents: texts.length };
  });
  return dir;
}

function run(corpus: string, out: string) {
  const printed: string[] = [];
  const done = command.run({
    options: { out: join(root, out), vocabSize: 300, split: "auto", validationShare: 0.3, tokenizer: undefined },
    positionals: [corpus],
    signal: new AbortController().signal,
    report: () => {},
    print: (text) => printed.push(text),
    json: false,
  });
  return { done, printed };
}

test("a corpus becomes tokens", async () => {
  const corpus = await makeCorpus(
    "corpus",
    Array.from({ length: 40 }, (_, index) => `春眠不觉晓，处处闻啼鸟。${index}`),
  );
  const { done, printed } = run(corpus, "tokens");
  await done;
  const [train, validation] = (["train", "validation"] as const).map((split) =>
    openTokens(join(root, "tokens"), split),
  );
  assert.equal(train!.documents + validation!.documents, 40);
  assert.match(printed.join(), new RegExp(`${train!.documents} documents`));
});

test("an empty corpus and a directory that is none", async () => {
  const isInput = (error: unknown) => error instanceof Failure && error.kind === "input";
  await assert.rejects(run(await makeCorpus("empty", []), "none").done, isInput);
  await assert.rejects(run(root, "none").done, isInput);
  await assert.rejects(run(join(root, "nowhere"), "none").done, isInput);
});
