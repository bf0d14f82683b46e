// Quantization: a model to a GGUF file that llama.cpp and Lianlu open, or to an AWQ checkpoint, with a report of what it
// cost. Rounds to the nearest, or calibrates on a text first.
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createGguf } from "../formats/gguf.ts";
import { beginArtifact, environmentFailure, hashInput } from "../formats/manifest.ts";
import { type Kernels, loadKernels } from "../kernels/index.ts";
import { countParameters, ggufPlaces, loadCheckpoint } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { copyTokenizerFiles, findTokenizerFile, loadTokenizer } from "../tokenizer/index.ts";
import { adjustmentsByTensor, adjustSource } from "./adjusted.ts";
import { awqGroupSize, writeAwq } from "./awq.ts";
import { type Adjustment, calibrate, type LayerScaling } from "./calibration/calibrate.ts";
import { affineRounding, type Rounding, symmetricRounding } from "./calibration/rounding.ts";
import { createComparison, outputErrors, type Quality } from "./compare.ts";
import { encodeTensor, storedType } from "./encode.ts";
import { createEncoder } from "./encoder.ts";
import { type HeldOutBatch, heldOutBatches } from "./held-out.ts";
import { measuredBatches } from "./measured.ts";
import { formatReport, type QuantizeReport, type TensorReport, worstTensor } from "./report.ts";
import { findScheme, type GgufScheme, type Scheme } from "./scheme.ts";
import { floatDecoder, type ModelSource, openModelSource } from "./source.ts";
import { textDocuments } from "./texts.ts";

export interface QuantizeOptions {
  /** A checkpoint directory, a GGUF file, or a llama2.c file. */
  model: string;
  /** The quantized directory to write. */
  out: string;
  /** A file in schemes/. */
  scheme: string;
  /** Where the tokenizer lies, if not with the model. */
  tokenizer?: string;
  /** A text to calibrate a 4-bit scheme on; without one weights are rounded to the nearest. */
  calibration?: string;
  /** Tokens of it to run the float model over, at most. */
  calibrationTokens: number;
  /** A tokens directory whose validation split the models are compared on. */
  tokens?: string;
  /** Or a text to compare them on; without either nothing but errors of weights is known. */
  evaluation?: string;
  /** Held-out tokens to compare on, at most. */
  evaluationTokens: number;
  /** Refuse to write a model whose perplexity grows by more than this many percent. Needs `tokens` or `evaluation`. */
  maxPerplexityIncrease?: number;
  signal: AbortSignal;
}

export const ggufName = "model.gguf";
/** Longest piece of a text that is calibrated on. */
const calibrationLength = 2048;
const seed = 1;

/**
 * Writes model.gguf (or model.safetensors and config.json), the tokenizer, report.json and report.txt.
 * Throws a Failure "numeric" where `maxPerplexityIncrease` is passed; nothing is written then.
 */
export async function* quantize(options: QuantizeOptions, kernels: Kernels = loadKernels()): Job<QuantizeReport> {
  const { model, out, maxPerplexityIncrease, signal } = options;
  const scheme = findScheme(options.scheme);
  checkOptions(options, scheme);
  const source = openModelSource(model, kernels, options.tokenizer);
  try {
    const measured = measuredBatches(options, source.config.maxPositions);
    const writer = beginArtifact(out, {
      kind: "quantized",
      inputs: await inputsOf(options),
      options: optionsOf(options),
      seed,
    });
    try {
      const groupSize = scheme.format === "awq" ? awqGroupSize(source, scheme.groupSize) : 0;
      const found = options.calibration
        ? yield* calibrateModel(kernels, source, roundingOf(kernels, scheme, groupSize), options, options.calibration)
        : undefined;
      const adjustments = found?.adjustments ?? new Map<string, Adjustment>();
      const adjusted = found ? adjustSource(source, adjustments) : source;
      const directory = writer.partialDir;
      const { tensors, bytes } =
        scheme.format === "awq"
          ? yield* writeAwq(kernels, directory, adjusted, groupSize, adjustments, signal)
          : yield* writeBlocks(kernels, join(directory, ggufName), adjusted, scheme, adjustments, signal);
      copyTokenizerOf(options, directory, scheme);

      let quality: Quality | undefined;
      if (measured) quality = yield* compare(kernels, source, adjusted, directory, tensors, measured, signal);
      const parameters = countParameters(source.config);
      const weightFile = join(directory, scheme.format === "awq" ? "model.safetensors" : ggufName);
      const report: QuantizeReport = {
        scheme: scheme.name,
        parameters,
        bytesBefore: source.bytes,
        bytesAfter: statSync(weightFile).size,
        bitsPerWeight: (8 * bytes) / parameters,
        tensors,
        worst: worstTensor(tensors),
        ...(found && { calibration: { tokens: found.tokens, scalings: found.scalings } }),
        ...(quality && { quality }),
        differences: scheme.format === "awq" ? [] : source.differences,
      };
      if (quality && maxPerplexityIncrease !== undefined) refuseWorse(report, quality, maxPerplexityIncrease);
      writeFileSync(join(directory, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
      writeFileSync(join(directory, "report.txt"), formatReport(report));
      const { tensors: _, calibration: __, ...metrics } = report;
      await writer.commit(metrics);
      return report;
    } finally {
      writer.discard();
    }
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    source.close();
  }
}

function checkOptions(options: QuantizeOptions, scheme: Scheme): void {
  const { calibration, tokens, evaluation, maxPerplexityIncrease } = options;
  if (maxPerplexityIncrease !== undefined && tokens === undefined && evaluation === undefined) {
    throw new Failure(
      "usage",
      "--max-perplexity-increase is given, and there are no held-out tokens to measure perplexity on.",
      "Give --tokens, the directory that `lianlu tokenize` wrote, or --evaluation, a file of text.",
    );
  }
  if (tokens !== undefined && evaluation !== undefined) {
    throw new Failure("usage", "Both --tokens and --evaluation are given.", "Give one of them to measure on.");
  }
  if (calibration !== undefined && (scheme.name === "q8_0" || scheme.name === "q6_k")) {
    throw new Failure(
      "usage",
      `--calibration is given, and the scheme ${scheme.name} is not calibrated: it loses next to nothing.`,
      "Leave it out, or use q4_0, q4_k_m or awq.",
    );
  }
}

async function inputsOf({ model, tokens, evaluation, calibration, tokenizer }: QuantizeOptions) {
  const inputs: Record<string, Awaited<ReturnType<typeof hashInput>>> = {};
  for (const [name, path] of Object.entries({ model, tokens, evaluation, calibration, tokenizer })) {
    if (path !== undefined) inputs[name] = await hashInput(path);
  }
  return inputs;
}

function optionsOf(options: QuantizeOptions): Record<string, unknown> {
  const { scheme, calibration, calibrationTokens, evaluationTokens, maxPerplexityIncrease } = options;
  return { scheme, ...(calibration && { calibrationTokens }), evaluationTokens, maxPerplexityIncrease };
}

/** What the search for scalings compares its candidates by: the plain rounding that is nearest to the scheme's. */
function roundingOf(kernels: Kernels, scheme: Scheme, groupSize: number): Rounding {
  if (scheme.format === "awq") return affineRounding(groupSize);
  return scheme.name === "q4_0" ? symmetricRounding(kernels) : affineRounding(32);
}

async function* calibrateModel(
  kernels: Kernels,
  source: ModelSource,
  rounding: Rounding,
  options: QuantizeOptions,
  text: string,
): Job<{ adjustments: Map<string, Adjustment>; scalings: LayerScaling[]; tokens: number }> {
  const length = Math.min(calibrationLength, source.config.maxPositions);
  const documents = textDocuments(text, loadTokenizer(options.tokenizer ?? options.model));
  const batches: HeldOutBatch[] = heldOutBatches(documents, {
    tokens: options.calibrationTokens,
    length,
    rows: length,
    seed,
  });
  if (batches.length === 0) {
    throw new Failure("input", `${text}: there are no tokens to calibrate on.`, "Give a longer text.");
  }
  const decoder = floatDecoder(kernels, source);
  const { adjustments, scalings } = yield* calibrate(kernels, decoder, batches, rounding, options.signal);
  const tokens = batches.reduce((sum, { ids }) => sum + ids.length, 0);
  return { adjustments: adjustmentsByTensor(source, adjustments), scalings, tokens };
}

/** Encodes and writes tensor after tensor; returns what each lost. */
async function* writeBlocks(
  kernels: Kernels,
  path: string,
  { config, metadata, tensors }: ModelSource,
  scheme: GgufScheme,
  adjustments: ReadonlyMap<string, Adjustment>,
  signal: AbortSignal,
): Job<{ tensors: TensorReport[]; bytes: number }> {
  const types = tensors.map((tensor) => storedType(scheme, tensor, config.layers, config.tieEmbeddings));
  const encoder = createEncoder(kernels);
  const file = createGguf(path, {
    metadata: new Map([...metadata, ["general.file_type", { type: "uint32", value: scheme.fileType }]]),
    tensors: tensors.map(({ name, shape }, index) => ({ name, shape, type: types[index]! })),
  });
  try {
    const reports: TensorReport[] = [];
    let bytes = 0;
    for (const [index, { name, source, shape, floats }] of tensors.entries()) {
      signal.throwIfAborted();
      const importance = adjustments.get(name)?.importance;
      const encoded = await encodeTensor(encoder, name, types[index]!, floats(), shape.at(-1)!, importance);
      file.append(encoded.bytes);
      bytes += encoded.bytes.byteLength;
      reports.push({ name, source, type: encoded.type, shape, weightError: encoded.relativeError });
      yield { type: "progress", step: "quantize", done: index + 1, total: tensors.length, unit: "tensors" };
    }
    file.finish();
    return { tensors: reports, bytes };
  } finally {
    file.abandon();
    await encoder.close();
  }
}

/** The tokenizer's files, and config.json of a checkpoint; a GGUF file brings its tokenizer along. */
function copyTokenizerOf({ model, tokenizer }: QuantizeOptions, directory: string, scheme: Scheme): void {
  const from = tokenizer ?? model;
  const config = join(model, "config.json");
  if (scheme.format === "gguf" && existsSync(config)) {
    const { quantization_config: _, ...json } = JSON.parse(readFileSync(config, "utf8")) as Record<string, unknown>;
    writeFileSync(join(directory, "config.json"), `${JSON.stringify(json, null, 2)}\n`);
  }
  if (from.endsWith(".gguf")) return;
  const file = findTokenizerFile(from);
  if (file.endsWith(".gguf")) return;
  if (statSync(from).isDirectory()) copyTokenizerFiles(from, directory);
  copyFileSync(file, join(directory, basename(file)));
}

/** Reads back what was written and runs both models on held-out tokens; fills in the tensors' output errors. */
async function* compare(
  kernels: Kernels,
  source: ModelSource,
  adjusted: ModelSource,
  directory: string,
  tensors: TensorReport[],
  batches: readonly HeldOutBatch[],
  signal: AbortSignal,
): Job<Quality> {
  const quantized = loadCheckpoint(directory, kernels, { inference: true });
  // Layer by layer against the same model in scaled numbers, whose layers have the same inputs; then against the model.
  let float = floatDecoder(kernels, adjusted);
  const errors = outputErrors(kernels, float, quantized, batches[0]!);
  if (adjusted !== source) float = floatDecoder(kernels, source);
  const layers = new Map(ggufPlaces(source.config).map((place) => [place.name, place.source.replace(/\.weight$/, "")]));
  for (const report of tensors) {
    const error = errors.get(layers.get(report.name)!);
    if (error !== undefined) report.outputError = error;
  }
  const comparison = createComparison(kernels, float, quantized);
  const total = batches.reduce((sum, { ids }) => sum + ids.length, 0);
  const startedAt = performance.now();
  let done = 0;
  for (const batch of batches) {
    signal.throwIfAborted();
    comparison.add(batch);
    done += batch.ids.length;
    const secondsLeft = Math.round(((performance.now() - startedAt) / 1000 / done) * (total - done));
    yield { type: "progress", step: "compare", done, total, unit: "tokens", metrics: { secondsLeft } };
  }
  return comparison.result();
}

function refuseWorse({ scheme, worst }: QuantizeReport, quality: Quality, limit: number): void {
  const increase = 100 * quality.perplexityIncrease;
  // Written so that NaN is refused, too.
  if (increase <= limit) return;
  throw new Failure(
    "numeric",
    `Perplexity grows by ${increase.toFixed(2)}% (${quality.perplexityBefore.toFixed(3)} to ${quality.perplexityAfter.toFixed(3)}), and at most ${limit}% is allowed. The worst layer is ${worst.name}.`,
    `${scheme === "q8_0" ? "Allow" : "Use a scheme of more bits, or allow"} more with --max-perplexity-increase. Nothing was written.`,
  );
}
