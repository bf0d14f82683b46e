// Quantization: a checkpoint directory to a GGUF file that llama.cpp and Lianlu open, with a report of what it cost.
// Round to nearest, no calibration.
import { copyFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type GgufValue, writeGguf } from "../formats/gguf.ts";
import { beginArtifact, environmentFailure, hashInput } from "../formats/manifest.ts";
import { openTokens } from "../formats/token-shards.ts";
import { type Kernels, loadKernels } from "../kernels/index.ts";
import {
  configToGguf,
  copyTokenizer,
  countParameters,
  type Decoder,
  familyOf,
  ggufPlaces,
  loadCheckpoint,
  loadGguf,
  namedTensors,
} from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { findTokenizerFile, loadTokenizer } from "../tokenizer/index.ts";
import { createComparison, outputErrors, type Quality } from "./compare.ts";
import { type EncodedTensor, encodeTensor } from "./encode.ts";
import { floatTwin } from "./float-twin.ts";
import { tokenizerToGguf } from "./gguf-tokenizer.ts";
import { heldOutBatches } from "./held-out.ts";
import { formatReport, type QuantizeReport, type TensorReport, worstTensor } from "./report.ts";
import { findScheme } from "./scheme.ts";

export interface QuantizeOptions {
  /** The checkpoint directory to read. */
  model: string;
  /** The quantized directory to write. */
  out: string;
  /** A file in schemes/: "q4_0" or "q8_0". */
  scheme: string;
  /** A tokens directory whose validation split the models are compared on; without one nothing but errors of weights is known. */
  tokens?: string;
  /** Held-out tokens to compare on, at most. */
  evaluationTokens: number;
  /** Refuse to write a model whose perplexity grows by more than this many percent. Needs `tokens`. */
  maxPerplexityIncrease?: number;
  signal: AbortSignal;
}

export const ggufName = "model.gguf";
/** Rows a forward pass; also the longest piece of a document that is looked at. */
const batchRows = 512;
const evaluationSeed = 1;

/**
 * Writes config.json, the tokenizer, model.gguf, report.json and report.txt.
 * Throws a Failure "numeric" where `maxPerplexityIncrease` is passed; nothing is written then.
 */
export async function* quantize(options: QuantizeOptions, kernels: Kernels = loadKernels()): Job<QuantizeReport> {
  const { model, out, tokens, maxPerplexityIncrease, signal } = options;
  const scheme = findScheme(options.scheme);
  if (maxPerplexityIncrease !== undefined && tokens === undefined) {
    throw new Failure(
      "usage",
      "--max-perplexity-increase is given, and there are no held-out tokens to measure perplexity on.",
      "Give --tokens, the directory that `lianlu tokenize` wrote.",
    );
  }
  if (statSync(model, { throwIfNoEntry: false })?.isFile()) {
    throw new Failure("usage", `${model} is a file, and a checkpoint directory is quantized.`, "Give the directory.");
  }
  const decoder = loadCheckpoint(model, kernels);
  if (!decoder.head.weight) {
    throw new Failure("usage", `${model} is quantized already.`, "Give the checkpoint that it was made from.");
  }
  const tokenizerPath = findTokenizerFile(model);
  const ggufTokenizer = tokenizerToGguf(tokenizerPath, decoder.config.vocabSize);
  if (tokens !== undefined) checkTokens(model, tokens);

  const writer = beginArtifact(out, {
    kind: "quantized",
    inputs: { model: await hashInput(model), ...(tokens !== undefined && { tokens: await hashInput(tokens) }) },
    options: { scheme: scheme.name, evaluationTokens: options.evaluationTokens, maxPerplexityIncrease },
    seed: evaluationSeed,
  });
  try {
    const places = ggufPlaces(decoder.config);
    const weights = namedTensors(decoder);
    const encoded: EncodedTensor[] = [];
    for (const [index, place] of places.entries()) {
      signal.throwIfAborted();
      encoded.push(encodeTensor(kernels, scheme, place, weights.get(place.source)!));
      yield { type: "progress", step: "quantize", done: index + 1, total: places.length, unit: "tensors" };
    }
    const path = join(writer.partialDir, ggufName);
    writeGguf(path, {
      metadata: new Map<string, GgufValue>([
        ...configToGguf(decoder.config),
        ["general.name", { type: "string", value: basename(model) }],
        ["general.file_type", { type: "uint32", value: scheme.fileType }],
        ["general.quantization_version", { type: "uint32", value: 2 }],
        ...ggufTokenizer.metadata,
      ]),
      tensors: encoded.map(({ place, type, bytes }) => ({
        name: place.name,
        type,
        shape: place.shape,
        bytes: () => bytes,
      })),
    });

    const tensors = encoded.map(({ place, type, relativeError }): TensorReport => {
      return { name: place.name, source: place.source, type, shape: place.shape, weightError: relativeError };
    });
    let quality: Quality | undefined;
    if (tokens !== undefined) quality = yield* compare(kernels, decoder, path, tensors, options, tokens);
    const parameters = countParameters(decoder.config);
    const report: QuantizeReport = {
      scheme: scheme.name,
      parameters,
      bytesBefore: weightFileBytes(model),
      bytesAfter: statSync(path).size,
      bitsPerWeight: (8 * encoded.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)) / parameters,
      tensors,
      worst: worstTensor(tensors),
      ...(quality && { quality }),
      differences: ggufTokenizer.differences,
    };
    if (quality && maxPerplexityIncrease !== undefined) refuseWorse(report, quality, maxPerplexityIncrease);

    writeFileSync(
      join(writer.partialDir, "config.json"),
      `${JSON.stringify(familyOf(decoder.config.family).formatConfig(decoder.config), null, 2)}\n`,
    );
    copyTokenizer(model, writer.partialDir);
    copyFileSync(tokenizerPath, join(writer.partialDir, basename(tokenizerPath)));
    writeFileSync(join(writer.partialDir, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(writer.partialDir, "report.txt"), formatReport(report));
    const { tensors: _, ...metrics } = report;
    await writer.commit(metrics);
    return report;
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    writer.discard();
  }
}

/** Reads the file back and runs both models on held-out tokens; fills in the tensors' output errors. */
async function* compare(
  kernels: Kernels,
  decoder: Decoder,
  ggufPath: string,
  tensors: TensorReport[],
  options: QuantizeOptions,
  tokens: string,
): Job<Quality> {
  const quantized = loadGguf(ggufPath, kernels);
  const float = floatTwin(kernels, decoder);
  const split = openTokens(tokens, "validation");
  try {
    const batches = heldOutBatches(split, {
      tokens: options.evaluationTokens,
      length: Math.min(batchRows, decoder.config.maxPositions),
      rows: batchRows,
      seed: evaluationSeed,
    });
    const [first] = batches;
    if (!first) {
      throw new Failure(
        "input",
        `${tokens}: the validation split has no tokens to compare on.`,
        "Tokenize with a larger --validation-share.",
      );
    }
    const errors = outputErrors(kernels, float, quantized, first);
    const layers = new Map(ggufPlaces(float.config).map(({ name, source }) => [name, source.replace(/\.weight$/, "")]));
    for (const report of tensors) {
      const error = errors.get(layers.get(report.name)!);
      if (error !== undefined) report.outputError = error;
    }
    const comparison = createComparison(kernels, float, quantized);
    const total = batches.reduce((sum, { ids }) => sum + ids.length, 0);
    let done = 0;
    for (const batch of batches) {
      options.signal.throwIfAborted();
      comparison.add(batch);
      done += batch.ids.length;
      yield { type: "progress", step: "compare", done, total, unit: "tokens" };
    }
    return comparison.result();
  } finally {
    split.close();
  }
}

function checkTokens(model: string, tokens: string): void {
  const tokenizer = loadTokenizer(model);
  const split = openTokens(tokens, "validation");
  try {
    if (split.tokenizerId === tokenizer.id) return;
    throw new Failure(
      "input",
      `${tokens} was made with another tokenizer (${split.tokenizerId.slice(0, 12)}) than that of ${model} (${tokenizer.id.slice(0, 12)}).`,
      "Give the tokens that the model was trained on, or tokenize the corpus with the model's tokenizer.",
    );
  } finally {
    split.close();
  }
}

function refuseWorse({ scheme, worst }: QuantizeReport, quality: Quality, limit: number): void {
  const increase = 100 * quality.perplexityIncrease;
  // Written so that NaN is refused, too.
  if (increase <= limit) return;
  throw new Failure(
    "numeric",
    `Perplexity grows by ${increase.toFixed(2)}% (${quality.perplexityBefore.toFixed(3)} to ${quality.perplexityAfter.toFixed(3)}), and at most ${limit}% is allowed. The worst layer is ${worst.name}.`,
    `${scheme === "q8_0" ? "Allow" : "Use the scheme q8_0, or allow"} more with --max-perplexity-increase. Nothing was written.`,
  );
}

/** Bytes of the weights of a checkpoint directory; the state of its training beside them does not count. */
function weightFileBytes(directory: string): number {
  const files = readdirSync(directory).filter((name) => /^model.*\.safetensors$/.test(name));
  return files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}
