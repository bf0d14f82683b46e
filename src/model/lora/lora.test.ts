// Adapters of every variant: saved, loaded, merged, passed by, and carried from split to fused projections and back.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import type { Kernels } from "../../kernels/kernels.ts";
import { createTape, dropout, tensor } from "../../tensor/index.ts";
import { fusedLayout } from "../layers/attention.ts";
import {
  addLora,
  decode,
  denseFeedForward,
  initializeDecoder,
  loadAdapter,
  loadCheckpoint,
  mergeLora,
  namedTensors,
  packedAttention,
  saveAdapter,
  saveCheckpoint,
  setAdapters,
  type Decoder,
  type LoraOptions,
  type LoraPair,
} from "../index.ts";
import { disturbVectors, tinyConfig, tinyVariants } from "../tiny.ts";

const kernels = loadKernels();
const directory = mkdtempSync(join(tmpdir(), "lianlu-lora-"));
after(() => rmSync(directory, { recursive: true }));

const plain: LoraOptions = { rank: 2, alpha: 4, targets: "all-linear" };
const variants: LoraOptions[] = [plain, { ...plain, rslora: true, dropout: 0.1 }, { ...plain, dora: true }];

function logits(decoder: Decoder, by: Kernels = kernels): Float32Array {
  using tape = createTape(by, { recording: false });
  const ids = Int32Array.of(1, 4, 9, 16);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2, 3), packedAttention(new Int32Array(4)));
  return Float32Array.from(decoder.head.apply(tape, hidden).data);
}

/** As if trained: B and magnitudes have numbers of their own. */
function disturb(pairs: readonly LoraPair[]): void {
  for (const [index, { b, magnitude }] of pairs.entries()) {
    b.data.forEach((_, i) => (b.data[i] = Math.sin(index + i) / 5));
    magnitude?.data.forEach((value, i) => (magnitude.data[i] = value * (1 + Math.cos(index + i) / 3)));
  }
}

function fresh(family: string, changes = {}): Decoder {
  const decoder = initializeDecoder(kernels, tinyConfig(family, changes), 1);
  disturbVectors(decoder);
  return decoder;
}

function assertClose(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
  assert.ok(worst <= tolerance, `the largest difference is ${worst}`);
}

for (const [family, changes] of tinyVariants) {
  for (const options of variants) {
    test(`${JSON.stringify(options)} on ${family} ${JSON.stringify(changes)}: saved and loaded, past, merged`, () => {
      const decoder = fresh(family, changes);
      const base = logits(decoder);
      const pairs = addLora(kernels, decoder, options, 5);
      assertClose(logits(decoder), base, 1e-5);
      disturb(pairs);
      const adapted = logits(decoder);
      assert.ok(adapted.some((value, i) => Math.abs(value - base[i]!) > 1e-2));
      const path = mkdtempSync(join(directory, "saved-"));
      saveAdapter(path, pairs, options, "base");
      const other = fresh(family, changes);
      loadAdapter(kernels, other, path);
      assert.deepEqual(logits(other), adapted);
      setAdapters(pairs, false);
      assert.deepEqual(logits(decoder), base);
      setAdapters(pairs, true);
      mergeLora(kernels, decoder, pairs);
      assertClose(logits(decoder), adapted, 1e-4);
    });
  }
}

/** The same model with q, k and v apart, under a Llama's names. */
function asLlama(fused: Decoder): Decoder {
  const split = initializeDecoder(kernels, { ...fused.config, family: "llama" }, 9);
  const { heads, kvHeads, headDim, hiddenSize } = fused.config;
  const layout = fusedLayout(fused.config);
  const group = heads / kvHeads;
  split.embedding.weight!.data.set(fused.embedding.weight!.data);
  split.norm.data.set(fused.norm.data);
  split.head.weight!.data.set(fused.head.weight!.data);
  for (const [index, layer] of split.layers.entries()) {
    const from = fused.layers[index]!;
    layer.attentionNorm.data.set(from.attentionNorm.data);
    layer.feedForwardNorm.data.set(from.feedForwardNorm.data);
    const wqkv = from.projections[0].weight!.data;
    const copy = (part: number, head: number, row: number) => {
      const rows = wqkv.subarray(row * hiddenSize, (row + headDim) * hiddenSize);
      layer.projections[part]!.weight!.data.set(rows, head * headDim * hiddenSize);
    };
    for (let head = 0; head < heads; head++)
      copy(0, head, layout.qOffset + Math.floor(head / group) * layout.qGroupStride + (head % group) * headDim);
    for (let head = 0; head < kvHeads; head++) copy(1, head, layout.kOffset + head * layout.kHeadStride);
    for (let head = 0; head < kvHeads; head++) copy(2, head, layout.vOffset + head * layout.vHeadStride);
    layer.output.weight!.data.set(from.output.weight!.data);
    const [into, out] = [denseFeedForward(layer), denseFeedForward(from)];
    for (const name of ["gate", "up", "down"] as const) into[name].weight!.data.set(out[name].weight!.data);
  }
  return split;
}

const carried: LoraOptions[] = [
  ...variants,
  { ...plain, targets: ["q_proj", "v_proj", "o_proj", "lm_head"] },
  { ...plain, dora: true, targets: ["q_proj", "k_proj", "v_proj", "down_proj"] },
];

for (const options of carried) {
  test(`${JSON.stringify(options)}: trained on split projections, it loads into fused ones`, () => {
    const fused = fresh("internlm2");
    const split = asLlama(fused);
    assertClose(logits(split), logits(fused), 1e-6);
    const pairs = addLora(kernels, split, options, 5);
    disturb(pairs);
    const path = mkdtempSync(join(directory, "split-"));
    saveAdapter(path, pairs, options, "base");
    const loaded = loadAdapter(kernels, fused, path);
    assertClose(logits(fused), logits(split), 1e-5);
    mergeLora(kernels, fused, loaded);
    mergeLora(kernels, split, pairs);
    assertClose(logits(fused), logits(split), 1e-5);
  });
}

for (const options of [...variants, { ...plain, targets: ["wqkv", "wo"] }]) {
  test(`${JSON.stringify(options)}: trained on fused projections, it loads into split ones`, () => {
    const fused = fresh("internlm2");
    const split = asLlama(fused);
    const pairs = addLora(kernels, fused, options, 5);
    disturb(pairs);
    const path = mkdtempSync(join(directory, "fused-"));
    saveAdapter(path, pairs, options, "base");
    const loaded = loadAdapter(kernels, split, path);
    assertClose(logits(split), logits(fused), 1e-5);
    mergeLora(kernels, split, loaded);
    mergeLora(kernels, fused, pairs);
    assertClose(logits(split), logits(fused), 1e-5);
  });
}

test("DoRA on q and v alone has no exact form on a fused projection, and is refused by name", () => {
  const fused = fresh("internlm2");
  const split = asLlama(fused);
  const options: LoraOptions = { ...plain, dora: true, targets: ["q_proj", "v_proj"] };
  const path = mkdtempSync(join(directory, "partial-"));
  saveAdapter(path, addLora(kernels, split, options, 5), options, "base");
  assert.throws(() => loadAdapter(kernels, fused, path), /q_proj and .*v_proj alone does not fit the model's .*wqkv/);
});

test("targets are ends of names, in the words of any family; one that names nothing is refused", () => {
  const names = (family: string, targets: string[], dora = false) =>
    addLora(kernels, fresh(family), { ...plain, targets, dora }, 1).map(({ name }) => name);
  assert.deepEqual(
    names("internlm2", ["o_proj"]),
    [0, 1].map((layer) => `model.layers.${layer}.attention.wo`),
  );
  assert.deepEqual(names("llama", ["w2", "layers.1.mlp.up_proj"]), [
    "model.layers.0.mlp.down_proj",
    "model.layers.1.mlp.up_proj",
    "model.layers.1.mlp.down_proj",
  ]);
  assert.deepEqual(names("llama", ["output"]), ["lm_head"]);
  assert.throws(() => names("llama", ["q_proj", "wqkv"]), /No layer is called "wqkv": .* three layers/);
  assert.throws(() => names("internlm2", ["wqkv", "v_proj"]), /No layer is called "v_proj": .* one layer/);
  assert.throws(() => names("llama", ["q_proj", "proj"]), /No layer is called "proj"/);
  assert.deepEqual(names("llama", ["lm_head"], true), ["lm_head"]);
});

test("merging into packed weights, or into a model without the layer, changes nothing and says so", () => {
  const decoder = fresh("llama");
  const path = mkdtempSync(join(directory, "base-"));
  saveCheckpoint(path, decoder, path);
  const before = [...namedTensors(decoder).values()].map(({ data }) => Float32Array.from(data));
  const pairs = addLora(kernels, decoder, plain, 1);
  assert.throws(
    () => mergeLora(kernels, loadCheckpoint(path, kernels, { inference: true }), pairs),
    /quantized or packed/,
  );
  const stranger = [{ ...pairs[0]!, name: "model.layers.7.mlp.up_proj" }];
  assert.throws(() => mergeLora(kernels, decoder, [...pairs, ...stranger]), /no layer model.layers.7/);
  const left = [...namedTensors(decoder).values()].map(({ data }) => Float32Array.from(data));
  assert.deepEqual(left, before);
});

test("a DoRA adapter beside packed weights needs the exact ones, or is refused with what to do", () => {
  const decoder = fresh("llama");
  const path = mkdtempSync(join(directory, "packed-"));
  saveCheckpoint(path, decoder, path);
  const options: LoraOptions = { ...plain, dora: true };
  const pairs = addLora(kernels, decoder, options, 1);
  disturb(pairs);
  saveAdapter(path, pairs, options, path);
  const packed = loadCheckpoint(path, kernels, { inference: true });
  assert.throws(() => loadAdapter(kernels, packed, path), /DoRA needs the lengths of the rows/);
  loadAdapter(kernels, packed, path, () => loadCheckpoint(path, kernels, { frozen: "stored" }));
  assertClose(logits(packed), logits(decoder), 1e-5);
});

test("what PEFT can write and is not read is refused by field", () => {
  const decoder = fresh("llama");
  const path = mkdtempSync(join(directory, "fields-"));
  saveAdapter(path, addLora(kernels, decoder, plain, 1), plain, path);
  const file = join(path, "adapter_config.json");
  const good = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  for (const [field, value] of Object.entries({ alpha_pattern: { q_proj: 3 }, rank_pattern: { q_proj: 3 }, r: 0 })) {
    writeFileSync(file, JSON.stringify({ ...good, [field]: value }));
    assert.throws(() => loadAdapter(kernels, fresh("llama"), path), new RegExp(`field ${field}`));
  }
});

test("dropout drops its share, keeps the mean, and draws again what it drew", () => {
  const numbers = new Float32Array(100_000).fill(1);
  using tape = createTape(kernels, { recording: false });
  const drop = (key: [number, number, number]) => dropout(tape, tensor(numbers, [100, 1000], "x"), 0.25, key).data;
  const first = Float32Array.from(drop([1, 2, 3]));
  const dropped = first.filter((value) => value === 0).length / numbers.length;
  assert.ok(Math.abs(dropped - 0.25) < 0.01, String(dropped));
  assert.ok(first.every((value) => value === 0 || Math.abs(value - 4 / 3) < 1e-6));
  assert.deepEqual(Float32Array.from(drop([1, 2, 3])), first);
  for (const key of [
    [2, 2, 3],
    [1, 3, 3],
    [1, 2, 4],
  ] as const) {
    const same = drop([...key]).filter((value, i) => (value === 0) === (first[i] === 0)).length / numbers.length;
    // Of independent masks, 0.75^2 + 0.25^2.
    assert.ok(Math.abs(same - 0.625) < 0.01, `${key.join()}: ${same}`);
  }
});

test("an adapter drops inputs in the passes that have a key, and in no others", () => {
  const decoder = fresh("llama");
  disturb(addLora(kernels, decoder, { ...plain, dropout: 0.5 }, 5));
  const run = (randomKey: number | undefined) => {
    using tape = createTape(kernels, { recording: false });
    tape.pass.randomKey = randomKey;
    const hidden = decode(tape, decoder, Int32Array.of(1, 4), Int32Array.of(0, 1), packedAttention(new Int32Array(2)));
    return Float32Array.from(hidden.data);
  };
  assert.deepEqual(run(undefined), run(undefined));
  assert.deepEqual(run(7), run(7));
  assert.notDeepEqual(run(7), run(8));
  assert.notDeepEqual(run(7), run(undefined));
});

test("a change is scaled by alpha over the rank, or with rsLoRA over its root, also when it is read", () => {
  for (const [rslora, factor] of [[false, 8 / 4] as const, [true, 8 / 2] as const]) {
    const options: LoraOptions = { rank: 4, alpha: 8, targets: ["q_proj"], rslora };
    const pairs = addLora(kernels, fresh("llama"), options, 1);
    const path = mkdtempSync(join(directory, "factor-"));
    saveAdapter(path, pairs, options, "base");
    for (const pair of [...pairs, ...loadAdapter(kernels, fresh("llama"), path)]) assert.equal(pair.factor, factor);
  }
});
