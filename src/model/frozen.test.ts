// Decoders whose matrices are frozen: the same numbers as dense ones from every kind of file, gradients beside them by
// central differences in float64, NF4 in memory no larger than it says.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { blockBytes, floatsFromBlocks, type BlockType } from "../formats/blocks.ts";
import { bytesFromFloats, type FloatDtype, floatsFromBytes } from "../formats/dtype.ts";
import { writeGguf } from "../formats/gguf.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { loadKernels, type FrozenWeight, type Kernels } from "../kernels/index.ts";
import { createTape, linearCrossEntropy, randomBits, tensor, type Tape } from "../tensor/index.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import type { DecoderConfig } from "./config.ts";
import {
  buildDecoder,
  decode,
  initializeDecoder,
  namedTensors,
  packedAttention,
  replaceLinears,
  type Decoder,
} from "./decoder.ts";
import { familyOf } from "./family.ts";
import { frozenParts, type FrozenMode } from "./frozen.ts";
import { configToGguf } from "./gguf-config.ts";
import { ggufPlaces, invertRows, pickRows, rowLengthOf } from "./gguf-layout.ts";
import { adapterTensors, addLora, makeTrainable } from "./index.ts";
import { frozenLinear } from "./layers/frozen.ts";
import { loraLinear } from "./lora/layer.ts";
import { disturbVectors, tinyConfig } from "./tiny.ts";

const directory = mkdtempSync(join(tmpdir(), "frozen-"));
after(() => rmSync(directory, { recursive: true }));
const native = loadKernels();
const float64: Kernels = { ...loadKernels("reference"), allocate: (length) => new Float64Array(length) };

// Two documents, one target masked.
const ids = Int32Array.of(1, 5, 9, 3, 16, 1, 7, 7, 2);
const targets = Int32Array.of(5, 9, -1, 16, 2, 7, 7, 2, -1);
const positions = Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2, 3);
const starts = Int32Array.of(0, 0, 0, 0, 0, 5, 5, 5, 5);

/** The loss of the two documents; with a scale, gradients are added too. */
function loss(tape: Tape, decoder: Decoder, gradientScale: number): number {
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  const losses = linearCrossEntropy(tape, decoder.head.terms!(tape, hidden), targets, gradientScale);
  let sum = 0;
  for (const value of losses.data) sum += value;
  if (gradientScale !== 0) tape.backward();
  tape.reset();
  return sum;
}

/** Adapters beside every layer, of which none is without effect. */
function adapt(kernels: Kernels, decoder: Decoder, dora = false) {
  const pairs = addLora(kernels, decoder, { rank: 3, alpha: 6, targets: "all-linear", dora }, 3);
  for (const [index, { b }] of pairs.entries()) b.data.forEach((_, i) => (b.data[i] = Math.sin(index + i) / 5));
  return pairs;
}

/** Puts fresh adapters beside the layers; a name for the loss and every gradient, equal where all bits are. */
function lossAndGradients(decoder: Decoder, dora = false): string {
  const pairs = adapt(native, decoder, dora);
  makeTrainable(native, adapterTensors(pairs));
  using tape = createTape(native, { recording: true });
  const hash = createHash("sha256").update(String(loss(tape, decoder, 1)));
  for (const { grad } of adapterTensors(pairs)) hash.update(grad as Float32Array);
  return hash.digest("hex");
}

/** A dense decoder again with frozen matrices. */
function freeze(kernels: Kernels, decoder: Decoder, mode: FrozenMode): Decoder {
  const weights = namedTensors(decoder);
  const stored = (name: string, outputs: number, inputs: number): FrozenWeight => {
    const data = new Uint8Array(Float32Array.from(weights.get(name)!.data).buffer);
    return { scheme: "f32", outputs, inputs, data };
  };
  return buildDecoder(kernels, decoder.config, {
    tensor: (name, shape) => tensor(weights.get(name)!.data, shape, name),
    ...frozenParts(kernels, decoder.config, mode, stored),
  });
}

/** The frozen weights of the blocks' layers, by their names. */
function frozenLayers(decoder: Decoder): Map<string, FrozenWeight> {
  const layers = new Map<string, FrozenWeight>();
  replaceLinears(decoder, (layer) => {
    layers.set(layer.name, layer.frozen!);
    return layer;
  });
  return layers;
}

/** Their schemes, each once. */
function schemesOf(decoder: Decoder): string {
  return [...new Set([...frozenLayers(decoder).values()].map(({ scheme }) => scheme))].join();
}

/** A frozen decoder again with dense matrices. */
function thaw(decoder: Decoder): Decoder {
  const frozen = new Map<string, FrozenWeight>([[decoder.embedding.name, decoder.embedding.frozen!]]);
  for (const [name, weight] of frozenLayers(decoder)) frozen.set(`${name}.weight`, weight);
  frozen.set(`${decoder.head.name}.weight`, decoder.head.frozen!);
  const vectors = namedTensors(decoder);
  return buildDecoder(native, decoder.config, {
    tensor(name, shape) {
      const weight = frozen.get(name);
      if (!weight) return tensor(Float32Array.from(vectors.get(name)!.data), shape, name);
      const data = native.allocate(weight.outputs * weight.inputs);
      native.decodeFrozen(data, weight, 0, weight.outputs);
      return tensor(data, shape, name);
    },
  });
}

const variants: readonly [family: string, changes: Partial<DecoderConfig>][] = [
  ["internlm2", {}],
  ["llama", { tieEmbeddings: true }],
  ["qwen2", { qkvBias: true }],
];

for (const [family, changes] of variants) {
  for (const dora of [false, true]) {
    test(`gradients of ${dora ? "DoRA" : "LoRA"} on NF4, a tiny ${family}, agree with central differences`, () => {
      const dense = initializeDecoder(float64, tinyConfig(family, changes), 1);
      disturbVectors(dense);
      const decoder = freeze(float64, dense, "nf4");
      const trained = [...adapterTensors(adapt(float64, decoder, dora))].filter(
        // DoRA's gradient takes the lengths of rows for constants: of A and B, differences see more.
        ({ name }) => !dora || name.includes("magnitude"),
      );
      makeTrainable(float64, trained);
      using tape = createTape(float64, { recording: true });
      loss(tape, decoder, 1);
      for (const entry of trained) entry.requiresGrad = false;
      for (const { name, data, grad } of trained) {
        let [difference, size] = [0, 0];
        for (let i = 0; i < data.length; i += Math.max(1, Math.floor(data.length / 8))) {
          const held = data[i]!;
          const at = (offset: number): number => {
            data[i] = held + offset;
            return loss(tape, decoder, 0);
          };
          const expected = (at(1e-5) - at(-1e-5)) / 2e-5;
          data[i] = held;
          difference += (expected - grad![i]!) ** 2;
          size += expected ** 2;
        }
        assert.ok(size > 1e-12 && Math.sqrt(difference / size) <= 1e-6, `${name}: ${Math.sqrt(difference / size)}`);
      }
    });
  }
}

/** A shape that blocks of 256 fit into, with an epsilon that a file keeps to the bit. */
const wide = (family: string, changes: Partial<DecoderConfig> = {}): DecoderConfig =>
  tinyConfig(family, {
    hiddenSize: 256,
    headDim: 64,
    intermediateSize: 256,
    layers: 1,
    initializerRange: 0.05,
    rmsNormEps: 2 ** -16,
    ...changes,
  });

function saveAs(dtype: FloatDtype, decoder: Decoder, name: string): string {
  const path = join(directory, name);
  mkdirSync(path);
  writeFileSync(
    join(path, "config.json"),
    JSON.stringify(familyOf(decoder.config.family).formatConfig(decoder.config)),
  );
  const tensors = [...namedTensors(decoder)].map(([tensorName, { data, shape }]) => {
    return { name: tensorName, dtype, shape, bytes: bytesFromFloats(data as Float32Array, dtype) };
  });
  writeSafetensors(join(path, "model.safetensors"), tensors);
  return path;
}

for (const dtype of ["F32", "F16", "BF16"] as const) {
  for (const [family, changes] of variants) {
    test(`a ${family} of ${dtype} as it is stored trains as its floats do, to the bit`, () => {
      const decoder = initializeDecoder(native, wide(family, changes), 4);
      disturbVectors(decoder);
      const path = saveAs(dtype, decoder, `${family}-${dtype}`);
      const frozen = loadCheckpoint(path, native, { frozen: "stored" });
      assert.equal(schemesOf(frozen), dtype.toLowerCase());
      assert.equal(lossAndGradients(frozen), lossAndGradients(loadCheckpoint(path, native)));
      if (dtype !== "BF16") return;
      const nf4 = loadCheckpoint(path, native, { frozen: "nf4" });
      assert.equal(schemesOf(nf4), "nf4");
      assert.equal(nf4.embedding.frozen!.scheme, "bf16");
      assert.equal(nf4.head.frozen!.scheme, "bf16");
      const expected = lossAndGradients(thaw(nf4));
      assert.equal(lossAndGradients(nf4), expected);
      assert.notEqual(expected, lossAndGradients(loadCheckpoint(path, native)));
    });
  }
}

test("DoRA on a frozen layer is that on its floats, to the bit", () => {
  const nf4 = freeze(native, initializeDecoder(native, wide("llama"), 4), "nf4");
  const dense = thaw(nf4);
  assert.equal(lossAndGradients(nf4, true), lossAndGradients(dense, true));
});

const types: readonly BlockType[] = ["Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ2_XXS", "F16", "BF16"];

for (const [index, type] of types.entries()) {
  test(`a GGUF file of ${type} as it is stored trains as its floats do, to the bit`, () => {
    const config = wide(index % 2 === 0 ? "llama" : "internlm2", { tieEmbeddings: index === 2 });
    const dense = initializeDecoder(native, config, 5);
    disturbVectors(dense);
    const weights = namedTensors(dense);
    const path = join(directory, `${type}.gguf`);
    writeGguf(path, {
      metadata: new Map([
        ...configToGguf(config),
        ["tokenizer.ggml.bos_token_id", { type: "uint32", value: 1 }],
        ["tokenizer.ggml.eos_token_id", { type: "uint32", value: 2 }],
      ]),
      tensors: ggufPlaces(config).map((place) => {
        const { name, source, shape, role, rows } = place;
        const data = weights.get(source)!.data as Float32Array;
        if (role === "norm") {
          const numbers = rows ? pickRows(data, rows, rowLengthOf(place)) : data;
          return { name, type: "F32", shape, bytes: () => bytesFromFloats(numbers, "F32") };
        }
        const bytes = anyBlocks(type, shape, name.length);
        // The dense model is given the numbers that the file will hold, in the order of its own rows.
        const numbers = floatsFromBlocks(bytes, type, name) ?? floatsFromBytes(bytes, type as FloatDtype, name);
        const back = rows ? pickRows(numbers, invertRows(rows), shape[1]!) : numbers;
        if (back.length === data.length) data.set(back);
        return { name, type, shape, bytes: () => bytes };
      }),
    });
    const frozen = loadCheckpoint(path, native, { frozen: "stored" });
    assert.equal(schemesOf(frozen), type.toLowerCase());
    const expected = lossAndGradients(thaw(frozen));
    assert.equal(lossAndGradients(frozen), expected);
    // InternLM2 opens as a Llama, of other layers.
    if (config.family === "llama") assert.equal(lossAndGradients(dense), expected);
  });
}

/** Blocks of any levels with scales that give numbers of a few hundredths. */
function anyBlocks(type: BlockType, [rows, columns]: readonly number[], stream: number): Uint8Array<ArrayBuffer> {
  const count = rows! * columns!;
  if (type === "F16" || type === "BF16") {
    const floats = Float32Array.from({ length: count }, (_, i) => (randomBits(1, stream, i) / 2 ** 32 - 0.5) / 8);
    return Uint8Array.from(bytesFromFloats(floats, type));
  }
  const bytes = Uint8Array.from({ length: blockBytes(type, count) }, (_, i) => randomBits(2, stream, i) & 255);
  const halves = { Q8_0: [34, 0], Q4_0: [18, 0], Q4_K: [144, 0, 2], Q6_K: [210, 208], IQ2_XXS: [66, 0] }[
    type as "Q8_0"
  ];
  const sizes = { Q8_0: 5e-4, Q4_0: 8e-3, Q4_K: 2e-4, Q6_K: 3e-5, IQ2_XXS: 3e-3 }[type as "Q8_0"];
  const view = new DataView(bytes.buffer);
  const [size, ...places] = halves;
  for (let block = 0; block < bytes.length; block += size!) {
    for (const at of places) view.setFloat16(block + at, sizes * (1 + (block % 3)), true);
  }
  return bytes;
}

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import torch"]).status === 0
    ? false
    : `${python} has no torch; set LIANLU_PYTHON to a Python that has (pip install torch)`;

test("an NF4 layer with LoRA beside it is within 1e-4 of PyTorch, forward and backward", { skip }, () => {
  const [rows, outputs, inputs, rank] = [9, 150, 172, 4];
  const numbers = (length: number, stream: number) =>
    Float32Array.from({ length }, (_, i) => randomBits(1, stream, i) / 2 ** 31 - 1);
  const weight = native.quantizeNf4(numbers(outputs * inputs, 1), outputs, inputs);
  const x = tensor(numbers(rows * inputs, 2), [rows, inputs], "x", true);
  const dy = numbers(rows * outputs, 5);
  const pair = {
    name: "layer",
    a: tensor(numbers(rank * inputs, 3), [rank, inputs], "a", true),
    b: tensor(numbers(outputs * rank, 4), [outputs, rank], "b", true),
    factor: 2,
    magnitude: undefined,
    enabled: true,
  };
  using tape = createTape(native, { recording: true });
  const y = loraLinear(frozenLinear(native, "layer", weight), pair).apply(tape, x);
  const outcome = [Float32Array.from(y.data)];
  tape.gradientOf(y).grad.set(dy);
  tape.backward();
  outcome.push(...[x, pair.a, pair.b].map(({ grad }) => grad as Float32Array<ArrayBuffer>));
  const given = { rows, outputs, inputs, rank, data: weight.data, x: x.data, a: pair.a.data, b: pair.b.data, dy };
  const { stdout, stderr } = spawnSync(python, [join(import.meta.dirname, "frozen-oracle.py")], {
    input: JSON.stringify(given, (_, value: unknown) =>
      ArrayBuffer.isView(value) ? [...(value as Float32Array)] : value,
    ),
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  assert.notEqual(stdout, "", stderr);
  for (const [index, expected] of (JSON.parse(stdout) as number[][]).entries()) {
    const size = Math.hypot(...expected);
    const difference = Math.hypot(...expected.map((value, i) => value - outcome[index]![i]!));
    assert.ok(difference <= 1e-4 * size, `${["y", "x", "a", "b"][index]}: ${difference / size}`);
  }
});

test("4-bit checkpoints of AWQ are refused as they are stored, and become NF4", () => {
  const path = join(import.meta.dirname, "packed/fixtures/awq");
  assert.throws(() => loadCheckpoint(path, native, { frozen: "stored" }), {
    name: "Failure",
    message: /q_proj.weight is in AWQ's or GPTQ's 4 bits/,
  });
  const frozen = loadCheckpoint(path, native, { frozen: "nf4" });
  assert.equal(schemesOf(frozen), "nf4");
  // From 4 bits to 4 other bits: the numbers stay near.
  const dense = loadCheckpoint(path, native);
  const [layer] = frozenLayers(frozen).values();
  const [decoded, expected] = [new Float32Array(32 * 32), [...namedTensors(dense).values()][2]!];
  assert.match(expected.name, /q_proj/);
  native.decodeFrozen(decoded, layer!, 0, 32);
  const size = Math.hypot(...expected.data);
  assert.ok(Math.hypot(...decoded.map((value, i) => value - expected.data[i]!)) < 0.15 * size);
});
