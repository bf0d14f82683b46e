import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openGguf } from "../formats/gguf.ts";
import { readManifest } from "../formats/manifest.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { createTokenWriter } from "../formats/token-shards.ts";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import {
  decode,
  type DecoderConfig,
  initializeDecoder,
  loadCheckpoint,
  packedAttention,
  saveCheckpoint,
} from "../model/index.ts";
import { Failure, type FailureKind, runJob } from "../protocol/index.ts";
import { createTape, tensor } from "../tensor/index.ts";
import { loadTokenizer, saveTokenizer } from "../tokenizer/index.ts";
import { trainBpe } from "../tokenizer/train.ts";
import { quantize, type QuantizeOptions } from "./quantize.ts";
import { formatReport, type QuantizeReport } from "./report.ts";

const directory = mkdtempSync(join(tmpdir(), "quantize-"));
after(() => rmSync(directory, { recursive: true }));
const model = join(directory, "model");
const tokens = join(directory, "tokens");
const texts = ["The cat sat on the mat.", "A dog, and 2 cats!", "春眠不覺曉，處處聞啼鳥。"];
const modelVocabulary = 290;
const weights = join(import.meta.dirname, "../../../shared/data/weights/llama2c");
const skip = existsSync(weights) ? false : `the llama2.c models are not at ${weights}`;

before(async () => {
  async function* corpus() {
    yield* texts;
  }
  mkdirSync(model);
  saveTokenizer(model, await runJob(trainBpe(corpus(), { vocabSize: 280, split: "words" })));
  const tokenizer = loadTokenizer(model);
  const config: DecoderConfig = {
    family: "internlm2",
    vocabSize: modelVocabulary,
    hiddenSize: 32,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    intermediateSize: 40,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositions: 16,
    tieEmbeddings: false,
    bosTokenId: tokenizer.bosId!,
    eosTokenIds: [...tokenizer.stopIds],
    padTokenId: tokenizer.eosId,
    initializerRange: 0.3,
  };
  saveCheckpoint(model, initializeDecoder(kernels, config, 1), model);
  writeTokens(tokens, tokenizer.id);
});

function writeTokens(path: string, tokenizerId: string): void {
  const tokenizer = loadTokenizer(model);
  const writer = createTokenWriter(path, "validation", { vocabSize: tokenizer.vocabSize, tokenizerId });
  for (const text of texts) writer.append([tokenizer.bosId!, ...tokenizer.encode(text), tokenizer.eosId]);
  writer.close();
}

function run(out: string, options: Partial<QuantizeOptions> = {}) {
  const { tokens: given, ...others } = { tokens, ...options };
  const sizes = { evaluationTokens: 60, calibrationTokens: 200 };
  const signal = new AbortController().signal;
  const all = { model, out: join(directory, out), scheme: "q8_0", ...sizes, ...others, signal };
  return runJob(quantize(given === undefined ? all : { ...all, tokens: given }, kernels));
}

async function refuses(
  kind: FailureKind,
  message: RegExp,
  options: Partial<QuantizeOptions> & { tokens?: string },
): Promise<void> {
  await assert.rejects(run("refused", options), (error) => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, message);
    return true;
  });
  assert.deepEqual(
    readdirSync(directory).filter((name) => name.startsWith("refused")),
    [],
  );
}

test("both schemes: the directory, the file and the report agree", async () => {
  const eight = await run("eight");
  const four = await run("four", { scheme: "q4_0" });
  for (const [name, report] of Object.entries({ eight, four })) {
    const out = join(directory, name);
    assert.deepEqual(readdirSync(out).sort(), [
      "config.json", "manifest.json", "model.gguf", "report.json", "report.txt", "tokenizer.json", "tokenizer_config.json",
    ]); // prettier-ignore
    assert.equal(readManifest(out, "quantized").options["scheme"], report.scheme);
    assert.deepEqual(JSON.parse(readFileSync(join(out, "report.json"), "utf8")), report);
    assert.equal(readFileSync(join(out, "report.txt"), "utf8"), formatReport(report));
    const { tensors, quality, worst } = report;
    const file = openGguf(join(out, "model.gguf"));
    assert.deepEqual(
      tensors.map((each) => [each.name, each.type, each.shape]),
      [...file.tensors].map(([stored, { type, shape }]) => [stored, type, [...shape]]),
    );
    file.close();
    const layers = tensors.filter(({ outputError }) => outputError !== undefined);
    assert.equal(layers.length, 2 * 7);
    assert.equal(worst.outputError, Math.max(...layers.map(({ outputError }) => outputError!)));
    assert.match(formatReport(report), new RegExp(`Worst layer  ${worst.name.replaceAll(".", "\\.")}`));
    assert.equal(quality!.tokens, 60);
    assert.ok(quality!.klDivergence > 0);
    assert.equal(loadCheckpoint(out, kernels).config.vocabSize, modelVocabulary);
    assert.equal(loadTokenizer(out).id, loadTokenizer(model).id);
  }
  assert.ok(eight.quality!.klDivergence < four.quality!.klDivergence / 10);
  assert.ok(eight.worst.outputError! < four.worst.outputError! / 5);
  assert.ok(four.bitsPerWeight < eight.bitsPerWeight);
  assert.ok(four.bytesAfter < eight.bytesAfter && eight.bytesAfter < eight.bytesBefore);
});

/** The mean of the layers' output errors. */
function meanError({ tensors }: QuantizeReport): number {
  const errors = tensors.flatMap(({ outputError }) => outputError ?? []);
  return errors.reduce((sum, error) => sum + error, 0) / errors.length;
}

test("calibrated schemes lose less than plain rounding, and say what they did", async () => {
  const text = join(directory, "calibration.txt");
  writeFileSync(text, Array.from({ length: 40 }, (_, i) => texts[i % texts.length]).join("\n<|endoftext|>\n"));
  const wide = join(directory, "wide");
  mkdirSync(wide);
  const decoder = initializeDecoder(kernels, { ...loadCheckpoint(model, kernels).config, intermediateSize: 64 }, 1);
  // Some columns meet larger activations, as in trained models.
  for (const { attentionNorm, feedForwardNorm } of decoder.layers) {
    attentionNorm.data[3] = 9;
    feedForwardNorm.data[17] = 9;
  }
  saveCheckpoint(wide, decoder, model);
  for (const scheme of ["q4_0", "awq"]) {
    const plain = await run(`${scheme}-plain`, { model: wide, scheme });
    const calibrated = await run(`${scheme}-calibrated`, { model: wide, scheme, calibration: text });
    assert.ok(meanError(calibrated) < 0.9 * meanError(plain), `${meanError(calibrated)} and ${meanError(plain)}`);
    assert.equal(calibrated.bitsPerWeight, plain.bitsPerWeight);
    assert.equal(plain.calibration, undefined);
    assert.equal(calibrated.calibration!.scalings.length, 2 * 3);
    assert.match(formatReport(calibrated), /Calibration  \d+ tokens, \d of 6 inputs scaled/);
    const again = await run(`${scheme}-again`, { model: wide, scheme, calibration: text });
    assert.deepEqual(again, calibrated);
  }
});

test("AWQ: safetensors in the layout that other engines load, and the decoder that Lianlu opens them as", async () => {
  const wide = join(directory, "wide");
  const report = await run("awq-layout", { model: wide, scheme: "awq" });
  const out = join(directory, "awq-layout");
  const json = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual(json["architectures"], ["LlamaForCausalLM"]);
  const quantization = json["quantization_config"] as Record<string, unknown>;
  assert.deepEqual(
    [quantization["quant_method"], quantization["bits"], quantization["group_size"], quantization["version"]],
    ["awq", 4, 32, "gemm"],
  );
  const file = openSafetensors(join(out, "model.safetensors"));
  const described = (part: string) => {
    const { dtype, shape } = file.tensors.get(`model.layers.1.mlp.down_proj.${part}`)!;
    return [dtype, ...shape];
  };
  assert.deepEqual(described("qweight"), ["I32", 64, 4]);
  assert.deepEqual(described("qzeros"), ["I32", 2, 4]);
  assert.deepEqual(described("scales"), ["F16", 2, 32]);
  assert.equal(file.tensors.get("lm_head.weight")!.dtype, "F16");
  file.close();
  assert.equal(report.tensors.find(({ name }) => name === "blk.1.ffn_down.weight")!.type, "AWQ");
  const opened = loadCheckpoint(out, kernels, { inference: true });
  assert.equal(opened.config.family, "llama");
  await refuses("input", /no multiple of 32.*AWQ cannot hold/, { scheme: "awq" });
});

test("a quantized file is quantized again, and keeps its tokenizer", async () => {
  await run("source-gguf", { scheme: "q8_0", evaluationTokens: 8 });
  const gguf = join(directory, "source-gguf", "model.gguf");
  const evaluation = join(directory, "evaluation.txt");
  writeFileSync(evaluation, texts.join("\n").repeat(3));
  const report = await run("from-gguf", { model: gguf, scheme: "q4_0", evaluation, tokens: undefined } as never);
  assert.deepEqual(readdirSync(join(directory, "from-gguf")).sort(), [
    "manifest.json", "model.gguf", "report.json", "report.txt",
  ]); // prettier-ignore
  assert.equal(report.quality!.tokens, 60);
  const [written, returned] = [gguf, join(directory, "from-gguf", "model.gguf")].map((path) => {
    const file = openGguf(path);
    file.close();
    return new Map([...file.metadata].filter(([key]) => key !== "general.file_type"));
  });
  assert.deepEqual(returned, written);
});

test("without tokens the errors of the weights are all that is known, and the report says so", async () => {
  const report = await run("weights", { tokens: undefined } as never);
  assert.equal(report.quality, undefined);
  assert.equal(report.worst.outputError, undefined);
  assert.match(formatReport(report), /not measured/);
});

test("what llama.cpp reads of the tokenizer: texts, types, merges, ends", async () => {
  await run("tokenizer", { evaluationTokens: 8 });
  const { metadata, close } = openGguf(join(directory, "tokenizer", "model.gguf"));
  close();
  const value = (key: string) => metadata.get(`tokenizer.ggml.${key}`)?.value;
  const pieces = value("tokens") as string[];
  const types = value("token_type") as number[];
  assert.equal(pieces.length, modelVocabulary);
  assert.equal(new Set(pieces).size, modelVocabulary);
  assert.deepEqual(pieces.slice(0, 3), ["<unk>", "<s>", "</s>"]);
  assert.deepEqual([types[0], types[1], types[100]], [3, 3, 1]);
  assert.ok(pieces.includes("Ġ"));
  assert.equal(types.at(-1), 5);
  for (const merge of value("merges") as string[]) {
    const [left, right] = merge.split(" ");
    assert.ok(pieces.includes(left! + right!), merge);
  }
  assert.deepEqual(
    [value("model"), value("pre"), value("bos_token_id"), value("eos_token_id")],
    ["gpt2", "gpt-2", 1, 2],
  );
  assert.equal(pieces[value("eot_token_id") as number], "<|im_end|>");
});

test("refusals say why and leave nothing behind", async () => {
  const withoutTokens = { tokens: undefined } as never as { tokens: string };
  await refuses("usage", /--max-perplexity-increase/, { ...withoutTokens, maxPerplexityIncrease: 1 });
  await refuses("usage", /no scheme "q5"/, { scheme: "q5" });
  await refuses("usage", /--calibration is given, and the scheme q8_0/, { calibration: join(model, "config.json") });
  await refuses("usage", /Both --tokens and --evaluation/, { evaluation: join(model, "config.json") });
  await refuses("input", /absent/, { model: join(directory, "absent") });
  await refuses("numeric", /Perplexity grows by .*at most -100% .*worst layer is blk\./, {
    maxPerplexityIncrease: -100,
  });
  const foreign = join(directory, "foreign");
  writeTokens(foreign, "0".repeat(64));
  await refuses("input", /another tokenizer \(000000000000\)/, { tokens: foreign });
  await run("once", { evaluationTokens: 8 });
  assert.ok(existsSync(join(directory, "once", "model.gguf")));
});

// What llama.cpp (node-llama-cpp 3.22.1) writes greedily after "Once upon a time" from the files made here.
const continuations = {
  q8_0: "432,383,286,261,376,298,315,421,395,317,426,338,401,396,267,337,410,408,419,292,411,322,265,282,295,433",
  q4_0: "432,383,286,261,376,298,315,421,395,317,426,338,401,396,267,337,410,408,419,292,411,322,265,282,295,433",
};

for (const [scheme, expected] of Object.entries(continuations)) {
  test(`stories260K in ${scheme} goes on as llama.cpp does with it`, { skip }, async () => {
    const stories = join(directory, `stories-${scheme}`);
    mkdirSync(stories);
    saveCheckpoint(stories, loadCheckpoint(join(weights, "stories260K.bin"), kernels), stories);
    copyFileSync(join(weights, "tok512.bin"), join(stories, "tokenizer.bin"));
    await run(`${scheme}-out`, { model: stories, scheme, tokens: undefined } as never);
    const decoder = loadCheckpoint(join(directory, `${scheme}-out`), kernels);
    const { hiddenSize, vocabSize } = decoder.config;
    using tape = createTape(kernels, { recording: false });
    // Teacher-forced: each id is the first choice after those before it.
    const ids = Int32Array.of(1, 403, 407, 261, 378, ...expected.split(",").map(Number));
    const hidden = decode(tape, decoder, ids, Int32Array.from(ids.keys()), packedAttention(new Int32Array(ids.length)));
    const logits = decoder.head.apply(tape, tensor(hidden.data, [ids.length, hiddenSize], "hidden")).data;
    const choices = Array.from(ids, (_, row) => {
      const scores = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      return scores.indexOf(Math.max(...scores));
    });
    assert.equal(choices.slice(4, -1).join(), expected);
  });
}
