// Every GGUF type that is written, opened by llama.cpp as the npm package node-llama-cpp ships it, which is no dependency:
// `npm install --prefix DIR node-llama-cpp@3`, and LIANLU_PEERS=DIR.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { decode, type Decoder, loadCheckpoint, packedAttention } from "../model/index.ts";
import { runJob } from "../protocol/index.ts";
import { createTape, tensor } from "../tensor/index.ts";
import { convert, type ConvertOptions } from "./convert.ts";
import { quantize } from "./quantize.ts";

const weights = join(import.meta.dirname, "../../../shared/data/weights/llama2c");
const model = join(weights, "stories15M.bin");
const tokenizer = join(weights, "tokenizer.bin");
const peers = process.env["LIANLU_PEERS"];
const skip = !existsSync(model)
  ? `stories15M is not at ${model}`
  : peers === undefined
    ? "LIANLU_PEERS does not name a directory with node-llama-cpp"
    : false;
const directory = mkdtempSync(join(tmpdir(), "peer-"));
after(() => rmSync(directory, { recursive: true }));

const prompt = [1, 9038, 2501, 263, 931];
const count = 24;
const files = new Map<string, string>();

/** Prints, for each file, the ids that llama.cpp gives greedily after the prompt. */
const script = `
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const [prompt, count, ...files] = process.argv.slice(2);
const found = createRequire(${JSON.stringify(join(peers ?? ".", "node_modules/anchor.js"))}).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(found).href);
const llama = await getLlama({ gpu: false, logLevel: "error", build: "never" });
for (const file of files) {
  const model = await llama.loadModel({ modelPath: file });
  const context = await model.createContext({ contextSize: 128, threads: 1 });
  const ids = [];
  for await (const id of context.getSequence().evaluate(JSON.parse(prompt), { temperature: 0 })) {
    if (ids.push(id) === Number(count)) break;
  }
  console.log(JSON.stringify(ids));
  await context.dispose();
  await model.dispose();
}
process.exit(0);
`;

/** The greedy ids after the prompt. */
function continuation(decoder: Decoder): number[] {
  const kernels = loadKernels();
  const ids = [...prompt];
  const { hiddenSize } = decoder.config;
  using tape = createTape(kernels, { recording: false });
  while (ids.length < prompt.length + count) {
    const rows = ids.length;
    const input = Int32Array.from(ids);
    const hidden = decode(tape, decoder, input, Int32Array.from(ids.keys()), packedAttention(new Int32Array(rows)));
    const last = tensor(hidden.data.subarray((rows - 1) * hiddenSize), [1, hiddenSize], "last");
    const scores = Float32Array.from(decoder.head.apply(tape, last).data);
    ids.push(scores.indexOf(Math.max(...scores)));
    tape.reset();
  }
  return ids.slice(prompt.length);
}

test("llama.cpp goes on with every type as Lianlu does", { skip }, async () => {
  const signal = new AbortController().signal;
  for (const type of ["f32", "f16", "bf16"] satisfies ConvertOptions["type"][]) {
    const out = join(directory, `${type}.gguf`);
    await runJob(convert({ model, out, type, tokenizer, signal }));
    files.set(type, out);
  }
  for (const scheme of ["q8_0", "q6_k", "q4_k_m", "q4_0"]) {
    const out = join(directory, scheme);
    const sizes = { calibrationTokens: 1, evaluationTokens: 1 };
    await runJob(quantize({ model, out, scheme, tokenizer, ...sizes, signal }));
    files.set(scheme, join(out, "model.gguf"));
  }
  const program = join(directory, "peer.mjs");
  writeFileSync(program, script);
  const parameters = [program, JSON.stringify(prompt), String(count), ...files.values()];
  const lines = execFileSync(process.execPath, parameters, { encoding: "utf8" }).trim().split("\n");
  assert.equal(lines.length, files.size);
  for (const [index, [name, file]] of [...files].entries()) {
    const own = continuation(loadCheckpoint(file, loadKernels(), { inference: true }));
    assert.deepEqual(JSON.parse(lines[index]!), own, name);
  }
});
