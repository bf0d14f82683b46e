// How a decoder lies in a GGUF file: the names and row orders of its tensors, and its config as metadata.
// One table for both directions. The architecture written is "llama" for every family: InternLM2 is a Llama once its
// fused projection is split, and more programs read that name (and tied embeddings under it) than "internlm2".
import type { GgufFile, GgufValue } from "../formats/gguf.ts";
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import { familyOf } from "./family.ts";
import { fusedLayout } from "./layers/attention.ts";

export type TensorRole = "embedding" | "norm" | "projection" | "head";

export interface GgufPlace {
  /** In the GGUF file. */
  name: string;
  /** The checkpoint's name of the tensor that holds these rows. */
  source: string;
  role: TensorRole;
  /** [rows, columns], or [length] for a norm. */
  shape: readonly number[];
  /** Row r of the file's tensor is row rows[r] of the source; absent where they are the same. */
  rows?: Int32Array;
}

/** Every tensor of a decoder, in the file's order. */
export function ggufPlaces(config: DecoderConfig): GgufPlace[] {
  const { hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize } = config;
  const names = familyOf(config.family).names;
  const places: GgufPlace[] = [
    { name: "token_embd.weight", source: names.embedding, role: "embedding", shape: [vocabSize, hiddenSize] },
  ];
  const { q, k, v } = projectionRows(config, names.layer(0).projections.length === 1);
  for (let index = 0; index < config.layers; index++) {
    const layer = names.layer(index);
    const norm = (name: string, source: string) => {
      places.push({ name: `blk.${index}.${name}.weight`, source, role: "norm", shape: [hiddenSize] });
    };
    const linear = (name: string, source: string, outputs: number, inputs: number, rows?: Int32Array) => {
      const place = { name: `blk.${index}.${name}.weight`, source: `${source}.weight`, role: "projection" } as const;
      places.push({ ...place, shape: [outputs, inputs], ...(rows && { rows }) });
    };
    const [first, second = first, third = first] = layer.projections;
    norm("attn_norm", layer.attentionNorm);
    linear("attn_q", first, heads * headDim, hiddenSize, q);
    linear("attn_k", second, kvHeads * headDim, hiddenSize, k);
    linear("attn_v", third, kvHeads * headDim, hiddenSize, v);
    linear("attn_output", layer.output, hiddenSize, heads * headDim);
    norm("ffn_norm", layer.feedForwardNorm);
    linear("ffn_gate", layer.gate, intermediateSize, hiddenSize);
    linear("ffn_up", layer.up, intermediateSize, hiddenSize);
    linear("ffn_down", layer.down, hiddenSize, intermediateSize);
  }
  places.push({ name: "output_norm.weight", source: names.norm, role: "norm", shape: [hiddenSize] });
  if (!config.tieEmbeddings) {
    places.push({
      name: "output.weight",
      source: `${names.head}.weight`,
      role: "head",
      shape: [vocabSize, hiddenSize],
    });
  }
  return places;
}

/** Source rows of q, k and v. Readers of GGUF rotate neighbouring pairs, so the halves of each head of q and k interleave. */
function projectionRows(config: DecoderConfig, fused: boolean) {
  const { heads, kvHeads, headDim } = config;
  const group = heads / kvHeads;
  const layout = fused
    ? fusedLayout(config)
    : { qOffset: 0, qGroupStride: group * headDim, kOffset: 0, kHeadStride: headDim, vOffset: 0, vHeadStride: headDim };
  const half = headDim / 2;
  const rows = (count: number, firstRow: (head: number) => number, interleave: boolean) =>
    Int32Array.from({ length: count * headDim }, (_, row) => {
      const within = row % headDim;
      return firstRow(Math.floor(row / headDim)) + (interleave ? (within % 2) * half + (within >> 1) : within);
    });
  return {
    q: rows(
      heads,
      (head) => layout.qOffset + Math.floor(head / group) * layout.qGroupStride + (head % group) * headDim,
      true,
    ),
    k: rows(kvHeads, (head) => layout.kOffset + head * layout.kHeadStride, true),
    ...(fused && { v: rows(kvHeads, (head) => layout.vOffset + head * layout.vHeadStride, false) }),
  };
}

/** Rows of equal length, as numbers or as blocks, picked in the order given. */
export function pickRows<Numbers extends Float32Array | Float64Array | Uint8Array>(
  source: Numbers,
  rows: Int32Array,
  rowLength: number,
): Numbers {
  const out = new (source.constructor as new (length: number) => Numbers)(rows.length * rowLength);
  for (const [row, from] of rows.entries()) {
    out.set(source.subarray(from * rowLength, (from + 1) * rowLength), row * rowLength);
  }
  return out;
}

/** The inverse of an order that is a permutation. */
export function invertRows(rows: Int32Array): Int32Array {
  const inverse = new Int32Array(rows.length);
  for (const [row, from] of rows.entries()) inverse[from] = row;
  return inverse;
}

/** The metadata that describes a decoder's shape; tokenizer and names are for the caller to add. */
export function configToGguf(config: DecoderConfig): Map<string, GgufValue> {
  const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
  const float32 = (value: number): GgufValue => ({ type: "float32", value });
  return new Map([
    ["general.architecture", { type: "string", value: "llama" }],
    ["llama.vocab_size", uint32(config.vocabSize)],
    ["llama.context_length", uint32(config.maxPositions)],
    ["llama.embedding_length", uint32(config.hiddenSize)],
    ["llama.block_count", uint32(config.layers)],
    ["llama.feed_forward_length", uint32(config.intermediateSize)],
    ["llama.attention.head_count", uint32(config.heads)],
    ["llama.attention.head_count_kv", uint32(config.kvHeads)],
    ["llama.attention.key_length", uint32(config.headDim)],
    ["llama.attention.value_length", uint32(config.headDim)],
    ["llama.attention.layer_norm_rms_epsilon", float32(config.rmsNormEps)],
    ["llama.rope.dimension_count", uint32(config.headDim)],
    ["llama.rope.freq_base", float32(config.ropeTheta)],
  ]);
}

/** Architectures that have the same tensors, row orders and arithmetic. */
const knownArchitectures = ["llama", "internlm2"];

/** The config of a file, as the llama family's; refuses what the decoder would compute differently. */
export function configFromGguf(file: GgufFile): DecoderConfig {
  const architecture = file.metadata.get("general.architecture")?.value;
  if (typeof architecture !== "string" || !knownArchitectures.includes(architecture)) {
    throw new Failure(
      "input",
      `${file.path} has architecture ${JSON.stringify(architecture ?? null)}, and ${knownArchitectures.join(" and ")} are known.`,
      "Use a model of the Llama or InternLM2 family.",
    );
  }
  const optional = (key: string, least: number, most: number): number | undefined => {
    const value = file.metadata.get(key)?.value;
    if (value === undefined) return undefined;
    const number = Number(value);
    if (typeof value === "object" || !(number >= least && number <= most)) {
      throw new Failure(
        "input",
        `${file.path}: key ${key} is not a number from ${least} to ${most}.`,
        "Is the file damaged?",
      );
    }
    return number;
  };
  const count = (key: string, most: number, otherwise?: number): number => {
    const value = optional(`${architecture}.${key}`, 1, most) ?? otherwise;
    if (value === undefined) {
      throw new Failure(
        "input",
        `${file.path}: key ${architecture}.${key} is missing.`,
        "The file does not describe a model.",
      );
    }
    if (!Number.isInteger(value))
      throw new Failure("input", `${file.path}: key ${architecture}.${key} is ${value}, expected an integer.`);
    return value;
  };
  const hiddenSize = count("embedding_length", 1 << 20);
  const heads = count("attention.head_count", 1024);
  const kvHeads = count("attention.head_count_kv", 1024, heads);
  const headDim = count("attention.key_length", 256, hiddenSize / heads);
  const scaling = file.metadata.get(`${architecture}.rope.scaling.type`)?.value ?? "none";
  const problem =
    heads % kvHeads !== 0
      ? `${heads} heads do not share ${kvHeads} key heads evenly`
      : headDim % 2 !== 0 ||
          count("attention.value_length", 256, headDim) !== headDim ||
          count("rope.dimension_count", 256, headDim) !== headDim
        ? `heads of ${headDim} numbers that are rotated in part, or whose values have another length, are not known`
        : scaling !== "none"
          ? `rope scaling ${JSON.stringify(scaling)} is not known`
          : undefined;
  if (problem) throw new Failure("input", `${file.path}: ${problem}.`, "Use a plain Llama or InternLM2 model.");

  const tokenId = (name: string) => optional(`tokenizer.ggml.${name}_token_id`, 0, 1 << 22);
  const eos = tokenId("eos") ?? 2;
  const endOfTurn = tokenId("eot");
  return {
    family: "llama",
    vocabSize: count("vocab_size", 1 << 22, file.tensors.get("token_embd.weight")?.shape[0]),
    hiddenSize,
    layers: count("block_count", 1024),
    heads,
    kvHeads,
    headDim,
    intermediateSize: count("feed_forward_length", 1 << 20),
    rmsNormEps: optional(`${architecture}.attention.layer_norm_rms_epsilon`, 1e-12, 0.1) ?? 1e-5,
    ropeTheta: optional(`${architecture}.rope.freq_base`, 1, 1e12) ?? 10000,
    maxPositions: count("context_length", 1 << 26),
    tieEmbeddings: !file.tensors.has("output.weight"),
    bosTokenId: tokenId("bos") ?? 1,
    eosTokenIds: endOfTurn === undefined || endOfTurn === eos ? [eos] : [eos, endOfTurn],
    padTokenId: tokenId("padding") ?? eos,
    initializerRange: 0.02,
  };
}
