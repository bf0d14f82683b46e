// Compares ids of generated lines with those of the libraries that define the formats: `sentencepiece` for .model and
// `tokenizers` for .json (a Python with both is $LIANLU_PYTHON), llama.cpp for .gguf (the directory of the npm package
// node-llama-cpp is $LIANLU_NODE_LLAMA_CPP).
// Usage: node scripts/compare-tokenizers.mjs [--lines 10000] [--digest] FILE...
// With --digest, prints the digests of the libraries' own ids of the first 500 lines, as the tests hold them.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { loadTokenizer } from "../src/tokenizer/load.ts";
import { digestIds, generateLines } from "../src/tokenizer/test-lines.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { lines: { type: "string", default: "10000" }, digest: { type: "boolean", default: false } },
});
const count = values.digest ? 500 : Number(values.lines);

/** Hugging Face's Unigram takes control tokens out of text, which is not wanted here: such texts are left out. */
const isUnigram = (/** @type {string} */ file) =>
  file.endsWith(".json") && JSON.parse(readFileSync(file, "utf8")).model.type === "Unigram";

/** @param {string} file @param {string[]} wellFormed @returns {number[][]} */
function pythonIds(file, wellFormed) {
  const script = join(import.meta.dirname, "../bench/peers/tokenizer_ids.py");
  const { status, stdout, stderr } = spawnSync(process.env["LIANLU_PYTHON"] ?? "python3", [script, file], {
    input: JSON.stringify(wellFormed),
    maxBuffer: 2 ** 30,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`the reference failed: ${stderr}`);
  return JSON.parse(stdout)[0];
}

/** @param {string} file @param {string[]} wellFormed @returns {Promise<number[][]>} */
async function llamaIds(file, wellFormed) {
  const entry = join(process.env["LIANLU_NODE_LLAMA_CPP"] ?? "node_modules/node-llama-cpp", "dist/index.js");
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
  const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: file, vocabOnly: true });
  const ids = wellFormed.map((line) => (line === "" ? [] : [...model.tokenize(line, false)]));
  await model.dispose();
  return ids;
}

for (const file of positionals) {
  const lines = generateLines(count, { spelled: !isUnigram(file) });
  const wellFormed = lines.map((line) => line.toWellFormed());
  const expected = file.endsWith(".gguf") ? await llamaIds(file, wellFormed) : pythonIds(file, wellFormed);
  if (values.digest) {
    console.log(`${JSON.stringify(basename(file))}: ${JSON.stringify(digestIds(expected))},`);
    continue;
  }
  const tokenizer = loadTokenizer(file);
  const started = performance.now();
  const ours = lines.map((line) => [...tokenizer.encode(line)]);
  const seconds = (performance.now() - started) / 1000;
  const differing = lines.flatMap((_, index) => (ours[index].join() === expected[index].join() ? [] : [index]));
  const megabytes = Buffer.byteLength(lines.join("")) / 1e6;
  console.log(
    `${basename(file)}: ${lines.length - differing.length} of ${lines.length} lines equal, ${(megabytes / seconds).toFixed(1)} MB/s`,
  );
  for (const index of differing.slice(0, 3)) {
    const at = ours[index].findIndex((id, place) => id !== expected[index][place]);
    console.log(`  line ${index}, id ${at}: ${JSON.stringify(lines[index].slice(0, 200))}`);
    console.log(`    ours     ${ours[index].slice(Math.max(0, at - 2), at + 8).join(" ")}`);
    console.log(`    expected ${expected[index].slice(Math.max(0, at - 2), at + 8).join(" ")}`);
  }
}
process.exit(0);
