import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bytesFromFloats } from "../formats/dtype.ts";
import { openGguf } from "../formats/gguf.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import {
  decode,
  type DecoderConfig,
  initializeDecoder,
  loadCheckpoint,
  namedTensors,
  packedAttention,
  saveCheckpoint,
} from "../model/index.ts";
import { runJob } from "../protocol/index.ts";
import { createTape, tensor } from "../tensor/index.ts";
import { loadTokenizer, saveTokenizer } from "../tokenizer/index.ts";
import { trainBpe } from "../tokenizer/train.ts";
import { convert, type ConvertOptions } from "./convert.ts";

const directory = mkdtempSync(join(tmpdir(), "convert-"));
after(() => rmSync(directory, { recursive: true }));
const text = "The cat sat on the mat. 春眠不覺曉 <|im_end|> and 2 cats!";
const vocabSize = 280;

/** A checkpoint of a family in half precision of a kind, with a byte-level tokenizer and a template. */
async function checkpoint(family: string, dtype: "F16" | "BF16", changes: Partial<DecoderConfig> = {}) {
  async function* corpus() {
    yield text;
  }
  const path = mkdtempSync(join(directory, `${family}-`));
  const data = await runJob(trainBpe(corpus(), { vocabSize, split: "words" }));
  saveTokenizer(path, { ...data, chatTemplate: "{{ messages[0].content }}" });
  const decoder = initializeDecoder(
    kernels,
    {
      family,
      vocabSize,
      hiddenSize: 32,
      layers: 2,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      intermediateSize: 48,
      rmsNormEps: 1e-5,
      ropeTheta: 10000,
      maxPositions: 32,
      tieEmbeddings: false,
      bosTokenId: 1,
      eosTokenIds: [2],
      padTokenId: 2,
      initializerRange: 0.3,
      ...changes,
    },
    1,
  );
  saveCheckpoint(path, decoder, path);
  const tensors = [...namedTensors(decoder)].map(([name, { data: numbers, shape }]) => {
    return { name, dtype, shape, bytes: bytesFromFloats(numbers as Float32Array, dtype) };
  });
  writeSafetensors(join(path, "model.safetensors"), tensors, { format: "pt" });
  return path;
}

function run(model: string, out: string, options: Partial<ConvertOptions> = {}) {
  return runJob(convert({ model, out, signal: new AbortController().signal, ...options }, kernels));
}

function logits(path: string): Float32Array {
  const decoder = loadCheckpoint(path, kernels, { inference: true });
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.of(1, 5, 9, 200, 0, 7);
  const hidden = decode(tape, decoder, ids, Int32Array.from(ids.keys()), packedAttention(new Int32Array(ids.length)));
  const width = decoder.config.hiddenSize;
  return Float32Array.from(decoder.head.apply(tape, tensor(hidden.data, [ids.length, width], "hidden")).data);
}

const models: [family: string, dtype: "F16" | "BF16", changes: Partial<DecoderConfig>][] = [
  ["llama", "BF16", {}],
  ["llama", "F16", { tieEmbeddings: true }],
  ["internlm2", "BF16", {}],
  ["mistral", "F16", {}],
  ["qwen2", "BF16", { qkvBias: true }],
  ["qwen3", "F16", { qkNorm: true }],
];

for (const [family, dtype, changes] of models) {
  test(`${family} in ${dtype}: to GGUF and back, equal to the bit`, async () => {
    const path = await checkpoint(family, dtype, changes);
    const gguf = join(directory, `${family}-${dtype}.gguf`);
    const result = await run(path, gguf);
    assert.equal(result.types[dtype]! + (result.types["F32"] ?? 0), result.tensors);
    const back = join(directory, `${family}-${dtype}-back`);
    await run(gguf, back, { type: dtype === "F16" ? "f16" : "bf16" });
    // The numbers of a decoder do not depend on how it lies: neither its logits.
    const expected = logits(path);
    assert.deepEqual(logits(gguf), expected);
    assert.deepEqual(logits(back), expected);
    const original = openSafetensors(join(path, "model.safetensors"));
    const returned = openSafetensors(join(back, "model.safetensors"));
    if (family === "internlm2") {
      assert.equal(
        (JSON.parse(readFileSync(join(back, "config.json"), "utf8")) as { model_type: string }).model_type,
        "llama",
      );
    } else {
      assert.deepEqual([...returned.tensors.keys()].sort(), [...original.tensors.keys()].sort());
      for (const [name, { dtype: stored }] of original.tensors) {
        assert.equal(returned.tensors.get(name)!.dtype, stored);
        assert.deepEqual(returned.bytes(name), original.bytes(name), name);
      }
    }
    original.close();
    returned.close();
    for (const other of [gguf, back]) {
      const tokenizer = loadTokenizer(other);
      assert.deepEqual(tokenizer.encode("The cat, 2 mats"), loadTokenizer(path).encode("The cat, 2 mats"));
      assert.equal(tokenizer.bosId, loadTokenizer(path).bosId);
    }
    const config = JSON.parse(readFileSync(join(back, "tokenizer_config.json"), "utf8")) as { chat_template: string };
    assert.equal(config.chat_template, "{{ messages[0].content }}");
    assert.equal(result.bytesAfter, readFileSync(gguf).length);
  });
}

test("GGUF to GGUF keeps every tensor and key; a type changes the matrices", async () => {
  const path = await checkpoint("llama", "BF16");
  const first = join(directory, "first.gguf");
  const copy = join(directory, "copy.gguf");
  const wide = join(directory, "wide.gguf");
  await run(path, first);
  await run(first, copy);
  assert.deepEqual(readFileSync(copy), readFileSync(first));
  await run(first, wide, { type: "f32" });
  assert.deepEqual(logits(wide), logits(first));
  const file = openGguf(wide);
  assert.ok([...file.tensors.values()].every(({ type }) => type === "F32"));
  file.close();
});

test("what is there already is not overwritten, and nothing half-written stays", async () => {
  const path = await checkpoint("llama", "BF16");
  const out = join(directory, "taken.gguf");
  await run(path, out);
  await assert.rejects(run(path, out), /taken.gguf is there already/);
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(run(path, join(directory, "aborted.gguf"), { signal: abort.signal }));
  await assert.rejects(run(path, join(directory, "aborted"), { signal: abort.signal }));
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("aborted")),
    [],
  );
});

const tokenizerModel = join(import.meta.dirname, "../../../shared/data/tokenizers/llama2_tokenizer.model");
const skip = existsSync(tokenizerModel) ? false : `Llama 2's tokenizer is not at ${tokenizerModel}`;

test("a SentencePiece tokenizer goes to GGUF and back", { skip }, async () => {
  const path = await checkpoint("llama", "BF16", { vocabSize: 32000 });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) rmSync(join(path, name));
  copyFileSync(tokenizerModel, join(path, "tokenizer.model"));
  const gguf = join(directory, "pieces.gguf");
  const back = join(directory, "pieces-back");
  await run(path, gguf);
  await run(gguf, back);
  const original = loadTokenizer(path);
  for (const other of [gguf, back]) {
    const tokenizer = loadTokenizer(other);
    for (const sample of [text, "  two  spaces\n\tand a tab", "🐈 naïve Ünïcode", ""]) {
      assert.deepEqual(tokenizer.encode(sample), original.encode(sample), JSON.stringify(sample));
    }
    assert.deepEqual([tokenizer.bosId, tokenizer.eosId], [original.bosId, original.eosId]);
  }
});

test("a llama2.c model needs its tokenizer named", async () => {
  const weights = join(import.meta.dirname, "../../../shared/data/weights/llama2c");
  if (!existsSync(weights)) return;
  const model = join(weights, "stories260K.bin");
  await assert.rejects(run(model, join(directory, "stories.gguf")), /does not say what its tokenizer is/);
  await run(model, join(directory, "stories.gguf"), { tokenizer: join(weights, "tok512.bin") });
  assert.deepEqual(logits(join(directory, "stories.gguf")), logits(model));
});
