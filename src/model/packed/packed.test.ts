import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, writeSafetensors } from "../../formats/safetensors.ts";
import { referenceKernels as kernels } from "../../kernels/reference/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { createTape, tensor } from "../../tensor/index.ts";
import { decode, loadCheckpoint, packedAttention, readConfig } from "../index.ts";
import { packedLayers } from "./index.ts";

// Written by a Python script from the layouts alone, each with the float model that its levels stand for: a Llama of one
// layer, hidden 32, feed-forward 64, groups of 32.
const fixtures = join(import.meta.dirname, "fixtures");
const directory = mkdtempSync(join(tmpdir(), "packed-"));
after(() => rmSync(directory, { recursive: true }));
const shapes: [name: string, outputs: number, inputs: number][] = [
  ["self_attn.q_proj", 32, 32],
  ["self_attn.k_proj", 16, 32],
  ["self_attn.v_proj", 16, 32],
  ["self_attn.o_proj", 32, 32],
  ["mlp.gate_proj", 64, 32],
  ["mlp.up_proj", 64, 32],
  ["mlp.down_proj", 32, 64],
];

function logits(path: string, inference: boolean): number[] {
  const decoder = loadCheckpoint(path, kernels, { inference });
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.of(1, 5, 9, 23, 0, 7);
  const hidden = decode(tape, decoder, ids, Int32Array.from(ids.keys()), packedAttention(new Int32Array(ids.length)));
  return [...decoder.head.apply(tape, tensor(hidden.data, [ids.length, 32], "hidden")).data];
}

function quantizationConfig(path: string): Record<string, unknown> {
  const json = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Record<string, unknown>;
  return json["quantization_config"] as Record<string, unknown>;
}

for (const method of ["awq", "gptq"]) {
  const path = join(fixtures, method);

  test(`${method}: levels, scales and zeros give the float weights to the bit`, () => {
    const source = openSafetensors(join(path, "model.safetensors"));
    const float = openSafetensors(join(fixtures, `${method}-float`, "model.safetensors"));
    const layers = packedLayers(source, quantizationConfig(path), kernels);
    for (const [short, outputs, inputs] of shapes) {
      const name = `model.layers.0.${short}`;
      const expected = new Float32Array(float.bytes(`${name}.weight`).buffer);
      assert.deepEqual(layers.floats(name, outputs, inputs), expected, name);
      assert.ok(layers.uses(`${name}.qweight`) && layers.uses(`${name}.qzeros`) && layers.uses(`${name}.scales`));
    }
    assert.equal(layers.has("lm_head"), false);
    assert.equal(layers.uses("lm_head.weight"), false);
    source.close();
    float.close();
  });

  test(`${method}: a checkpoint computes what its float model does, but for rounded activations`, () => {
    const actual = logits(path, true);
    const expected = logits(join(fixtures, `${method}-float`), false);
    assert.deepEqual(logits(path, false), expected);
    assert.notDeepEqual(actual, expected);
    const largest = Math.max(...expected.map(Math.abs));
    for (const [i, value] of actual.entries()) {
      assert.ok(Math.abs(value - expected[i]!) < 0.02 * largest, `logit ${i}: ${value}, expected ${expected[i]}`);
    }
    assert.equal(readConfig(path).family, "llama");
  });

  test(`${method}: what is not supported is refused by name`, () => {
    const source = openSafetensors(join(path, "model.safetensors"));
    const refuses = (changes: Record<string, unknown>, message: RegExp) => {
      const run = () => {
        const layers = packedLayers(source, { ...quantizationConfig(path), ...changes }, kernels);
        layers.floats("model.layers.0.mlp.down_proj", 32, 64);
      };
      assert.throws(run, (error) => error instanceof Failure && message.test(error.message));
    };
    refuses({ quant_method: "bitsandbytes" }, /quant_method .* "bitsandbytes", expected "awq" or "gptq"/);
    refuses({ bits: 3 }, /bits of config.json is 3, expected 4/);
    refuses({ bits: "4" }, /quantization_config.bits/);
    refuses({ group_size: 48 }, /group_size of config.json is 48/);
    refuses({ group_size: 64 }, /down_proj.* \[2, 32\], expected \[1, 32\]/);
    refuses({ group_size: 128 }, /down_proj has 64 inputs .* groups of 128/);
    if (method === "awq") refuses({ version: "gemv" }, /version of config.json is "gemv"/);
    else refuses({ checkpoint_format: "marlin" }, /checkpoint_format/);
    source.close();
  });
}

test("a GPTQ order of inputs is refused by name", () => {
  const path = join(directory, "act-order");
  cpSync(join(fixtures, "gptq"), path, { recursive: true });
  const source = openSafetensors(join(path, "model.safetensors"));
  const tensors = [...source.tensors].map(([name, { dtype, shape }]) => {
    const bytes = source.bytes(name);
    if (name.endsWith("down_proj.g_idx")) new Int32Array(bytes.buffer).reverse();
    return { name, dtype, shape, bytes };
  });
  source.close();
  writeSafetensors(join(path, "model.safetensors"), tensors);
  assert.throws(() => loadCheckpoint(path, kernels), /mlp.down_proj.g_idx .*desc_act/);
});

test("GPTQ's second format stores zeros as they are", () => {
  const path = join(fixtures, "gptq");
  const source = openSafetensors(join(path, "model.safetensors"));
  const first = packedLayers(source, quantizationConfig(path), kernels);
  const second = packedLayers(source, { ...quantizationConfig(path), checkpoint_format: "gptq_v2" }, kernels);
  const name = "model.layers.0.mlp.gate_proj";
  const scales = new Float16Array(source.bytes(`${name}.scales`).buffer);
  const [a, b] = [first.floats(name, 64, 32)!, second.floats(name, 64, 32)!];
  for (let output = 0; output < 64; output++) {
    assert.ok(Math.abs(b[32 * output]! - a[32 * output]! - scales[output]!) < 1e-6);
  }
  source.close();
});
