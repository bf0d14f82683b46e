import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { createTokenWriter, openTokens } from "./token-shards.ts";

const root = mkdtempSync(join(tmpdir(), "token-shards-"));
after(() => rmSync(root, { recursive: true }));
let directories = 0;
const tokenizerId = "0123456789abcdef".repeat(4);

/** A directory with the given documents as its train split. */
function write(documents: number[][], { vocabSize = 1000, maxShardTokens = 2 ** 20 } = {}): string {
  const dir = join(root, String(directories++));
  const writer = createTokenWriter(dir, "train", { vocabSize, tokenizerId, maxShardTokens });
  for (const document of documents) writer.append(document);
  writer.close();
  assert.equal(writer.documents, documents.length);
  assert.equal(writer.tokens, documents.flat().length);
  return dir;
}

test("documents come back, in any order, from 16 and 32 bits and from many shards", () => {
  const documents = Array.from({ length: 50 }, (_, index) =>
    Array.from({ length: (index * 7) % 23 }, (__, place) => (index * 31 + place * 17) % 1000),
  );
  for (const vocabSize of [1000, 65_536, 65_537, 100_000]) {
    for (const maxShardTokens of [1, 40, 2 ** 20]) {
      const dir = write(documents, { vocabSize, maxShardTokens });
      const tokens = openTokens(dir, "train");
      assert.deepEqual([tokens.documents, tokens.tokens], [50, documents.flat().length]);
      assert.deepEqual([tokens.vocabSize, tokens.tokenizerId], [vocabSize, tokenizerId]);
      for (let index = 49; index >= 0; index--) {
        const ids = tokens.document(index);
        assert.equal(ids.BYTES_PER_ELEMENT, vocabSize <= 65_536 ? 2 : 4);
        assert.deepEqual([...ids], documents[index]);
      }
      assert.throws(() => tokens.document(50), RangeError);
      assert.throws(() => tokens.document(-1), RangeError);
      tokens.close();
    }
  }
  assert.equal(readdirSync(write([[1], [2, 3], [4, 5, 6], [7]], { maxShardTokens: 3 })).length, 3);
});

test("the largest id of each width, and a document larger than the write buffer", () => {
  const long = Array.from({ length: 700_000 }, (_, place) => place % 65_536);
  const dir = write([[65_535], long, [0]], { vocabSize: 65_536 });
  const tokens = openTokens(dir, "train");
  assert.deepEqual([...tokens.document(0), ...tokens.document(2)], [65_535, 0]);
  assert.ok(Buffer.from(tokens.document(1)).equals(Buffer.from(Uint16Array.from(long))));
  tokens.close();
});

test("a split without documents is an empty one; a split that is not there is a Failure", () => {
  const dir = write([]);
  const tokens = openTokens(dir, "train");
  assert.deepEqual([tokens.documents, tokens.tokens], [0, 0]);
  tokens.close();
  refuses(dir, /no validation-00000\.bin/, "validation");
  refuses(join(root, "nowhere"), /no train-00000\.bin/);
});

test("ids outside the vocabulary are not written", () => {
  const writer = createTokenWriter(join(root, "outside"), "train", { vocabSize: 10, tokenizerId });
  for (const id of [10, -1, Number.NaN]) assert.throws(() => writer.append([id]), RangeError);
  writer.close();
});

function refuses(dir: string, message: RegExp, split: "train" | "validation" = "train"): void {
  assert.throws(
    () => {
      const tokens = openTokens(dir, split);
      for (let index = 0; index < tokens.documents; index++) tokens.document(index);
    },
    (error) => error instanceof Failure && error.kind === "input" && message.test(error.message),
    String(message),
  );
}

test("damaged shards are refused with what is wrong", () => {
  const damage = (change: (path: string) => void, message: RegExp) => {
    const dir = write([[1, 2, 3], [4], [5, 6]], { maxShardTokens: 4 });
    change(join(dir, "train-00000.bin"));
    refuses(dir, message);
  };
  const patch = (offset: number, ...bytes: number[]) => {
    return (path: string) => {
      const content = readFileSync(path);
      content.set(bytes, offset);
      writeFileSync(path, content);
    };
  };
  damage((path) => truncateSync(path, 30), /30 bytes, and its header alone/);
  damage((path) => truncateSync(path, 70), /cut short/);
  damage((path) => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(1)])), /something was added/);
  damage(patch(0, 0), /no finished shard/);
  damage(patch(8, 9), /format version 9/);
  damage(patch(12, 4), /4 bytes a token/);
  damage(patch(30, 1), /cut short/);
  damage(patch(64, 0xff, 0xff), /token 0 is 65535, outside the vocabulary of 1000/);
  damage(patch(72, 9), /ends before it begins/);
  damage(patch(76, 5), /hold 5 tokens/);
  damage(patch(32, 0xff), /another tokenizer/);
  damage((path) => rmSync(path), /no train-00000\.bin/);
});
