import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { readManifest } from "../formats/manifest.ts";
import { openTokens } from "../formats/token-shards.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import type { JobEvent } from "../protocol/job.ts";
import { loadTokenizer } from "./load.ts";
import { createRandom, llama2cWeights, randomText, unlessThere } from "./test-support.ts";
import { splitOf, tokenize } from "./tokenize.ts";
import type { TokenizeOptions } from "./tokenize.ts";

const root = mkdtempSync(join(tmpdir(), "tokenize-"));
after(() => rmSync(root, { recursive: true }));

const random = createRandom(12);
const corpus = Array.from({ length: 200 }, (_, index) => ({
  id: `d${index}`,
  text: `春眠不觉晓${randomText(random)}`,
}));
async function* documents() {
  yield* corpus;
}
const run = (out: string, options: Partial<TokenizeOptions> = {}, onEvent?: (event: JobEvent) => void) =>
  runJob(tokenize({ documents, out: join(root, out), vocabSize: 400, validationShare: 0.2, ...options }), onEvent);

test("every document is in one split, framed by BOS and EOS, and reads back", async () => {
  const { metrics } = await run("tokens");
  const dir = join(root, "tokens");
  const tokenizer = loadTokenizer(dir);
  let documentsSeen = 0;
  let tokensSeen = 0;
  for (const split of ["train", "validation"] as const) {
    const tokens = openTokens(dir, split);
    const texts = corpus.filter(({ id }) => splitOf(id, 0.2) === split).map(({ text }) => text);
    assert.deepEqual({ documents: tokens.documents, tokens: tokens.tokens }, metrics[split]);
    assert.equal(tokens.documents, texts.length);
    assert.equal(tokens.tokenizerId, tokenizer.id);
    texts.forEach((text, index) => {
      const ids = tokens.document(index);
      assert.equal(ids[0], tokenizer.bosId);
      assert.equal(ids.at(-1), tokenizer.eosId);
      assert.equal(tokenizer.decode(ids), text);
    });
    documentsSeen += tokens.documents;
    tokensSeen += tokens.tokens;
    tokens.close();
  }
  assert.equal(documentsSeen, corpus.length);
  const characters = corpus.reduce((sum, { text }) => sum + [...text].length, 0);
  const ratio = characters / (tokensSeen - 2 * corpus.length);
  assert.ok(Math.abs(metrics.charactersPerToken - ratio) < 1e-9);
  assert.ok(metrics.validation.documents > 20 && metrics.validation.documents < 60);
  const manifest = readManifest(dir, "tokens");
  assert.equal(manifest.metrics["vocabSize"], tokenizer.vocabSize);
  assert.deepEqual(manifest.options, { vocabSize: 400, split: "auto", validationShare: 0.2 });
});

test("running again gives the same bytes; a given tokenizer is used and kept", async () => {
  await run("again");
  await run("reused", { tokenizer: join(root, "tokens") });
  for (const name of ["tokenizer.json", "tokenizer_config.json", "train-00000.bin", "validation-00000.bin"]) {
    for (const out of ["again", "reused"]) {
      assert.ok(readFileSync(join(root, out, name)).equals(readFileSync(join(root, "tokens", name))), `${out}/${name}`);
    }
  }
  assert.ok("tokenizer" in readManifest(join(root, "reused")).inputs);
});

test("a llama2.c tokenizer is used and kept", { skip: unlessThere(llama2cWeights) }, async () => {
  await run("llama", { tokenizer: join(llama2cWeights, "tok512.bin") });
  assert.equal(loadTokenizer(join(root, "llama")).vocabSize, 512);
  assert.equal(openTokens(join(root, "llama"), "train").vocabSize, 512);
});

test("a document's split depends on its id alone", () => {
  const ids = Array.from({ length: 5000 }, (_, index) => `document ${index}`);
  const chosen = ids.filter((id) => splitOf(id, 0.1) === "validation");
  assert.ok(chosen.length > 400 && chosen.length < 600);
  assert.ok(chosen.every((id) => splitOf(id, 0.2) === "validation"));
  assert.ok(ids.every((id) => splitOf(id, 0) === "train"));
});

test("an empty corpus, wrong options and an abort leave nothing behind", async () => {
  const fails = async (options: Partial<TokenizeOptions>, kind: string) => {
    await assert.rejects(
      run("failed", options),
      (error) => (error instanceof Failure ? error.kind : (error as Error).name) === kind,
    );
    assert.ok(!existsSync(join(root, "failed")) && !existsSync(join(root, "failed.partial")));
  };
  // oxlint-disable-next-line require-yield -- an empty corpus yields nothing
  const none = async function* (): AsyncGenerator<{ id: string; text: string }> {};
  await fails({ documents: none }, "input");
  await fails({ documents: none, tokenizer: join(root, "tokens") }, "input");
  await fails({ validationShare: 1 }, "usage");
  await fails({ vocabSize: 10 }, "usage");
  await fails({ tokenizer: join(root, "nowhere") }, "input");
  const breaking = async function* () {
    yield* corpus.slice(0, 10);
    throw new Failure("input", "broken line 11");
  };
  await fails({ documents: breaking, tokenizer: join(root, "tokens") }, "input");
});

test("a split that stays empty is said", async () => {
  const events: JobEvent[] = [];
  const few = async function* () {
    yield* corpus.filter(({ id }) => splitOf(id, 0.01) === "train").slice(0, 5);
  };
  await run("few", { documents: few, validationShare: 0.01 }, (event) => events.push(event));
  assert.ok(events.some((event) => event.type === "note" && /0 are for validation/.test(event.text)));
});
