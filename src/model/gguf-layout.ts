// How a decoder's tensors lie in a GGUF file: their names and the orders of their rows, one table for both directions.
// Most families are written as "llama": InternLM2 is a Llama once its fused projection is split, and more programs read
// that name (and tied embeddings under it) than "internlm2".
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import { familyOf } from "./family.ts";
import { fusedLayout } from "./layers/attention.ts";

/** A "norm" is any vector, kept as float32: the weights of a norm, or a bias. */
export type TensorRole = "embedding" | "norm" | "projection" | "head";

export interface GgufPlace {
  /** In the GGUF file. */
  name: string;
  /** The checkpoint's name of the tensor that holds these rows. */
  source: string;
  role: TensorRole;
  /** [rows, columns], or [length] for a vector, whose rows are single numbers. */
  shape: readonly number[];
  /** Row r of the file's tensor is row rows[r] of the source; absent where they are the same. */
  rows?: Int32Array;
}

/** Every tensor of a decoder, in the file's order. Throws Failure("usage") for a mixture of experts. */
export function ggufPlaces(config: DecoderConfig): GgufPlace[] {
  const { hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize } = config;
  const names = familyOf(config.family).names;
  if (config.experts) {
    throw new Failure(
      "usage",
      `A mixture of experts (${config.family}) is neither quantized nor written as GGUF.`,
      "Serve and train its checkpoint as it is.",
    );
  }
  const places: GgufPlace[] = [
    { name: "token_embd.weight", source: names.embedding, role: "embedding", shape: [vocabSize, hiddenSize] },
  ];
  const { q, k, v } = projectionRows(config, names.layer(0).projections.length === 1);
  for (let index = 0; index < config.layers; index++) {
    const layer = names.layer(index);
    const vector = (name: string, source: string, length: number, rows?: Int32Array) => {
      places.push({ name: `blk.${index}.${name}`, source, role: "norm", shape: [length], ...(rows && { rows }) });
    };
    const linear = (name: string, source: string, outputs: number, inputs: number, bias = false, rows?: Int32Array) => {
      const place = { name: `blk.${index}.${name}.weight`, source: `${source}.weight`, role: "projection" } as const;
      places.push({ ...place, shape: [outputs, inputs], ...(rows && { rows }) });
      if (bias) vector(`${name}.bias`, `${source}.bias`, outputs, rows);
    };
    const { qkvBias, outputBias, feedForwardBias } = config;
    const [first, second = first, third = first] = layer.projections;
    vector("attn_norm.weight", layer.attentionNorm, hiddenSize);
    linear("attn_q", first, heads * headDim, hiddenSize, qkvBias, q);
    linear("attn_k", second, kvHeads * headDim, hiddenSize, qkvBias, k);
    linear("attn_v", third, kvHeads * headDim, hiddenSize, qkvBias, v);
    if (config.qkNorm) {
      vector("attn_q_norm.weight", layer.qNorm!, headDim);
      vector("attn_k_norm.weight", layer.kNorm!, headDim);
    }
    linear("attn_output", layer.output, hiddenSize, heads * headDim, outputBias);
    vector("ffn_norm.weight", layer.feedForwardNorm, hiddenSize);
    linear("ffn_gate", layer.gate, intermediateSize, hiddenSize, feedForwardBias);
    linear("ffn_up", layer.up, intermediateSize, hiddenSize, feedForwardBias);
    linear("ffn_down", layer.down, hiddenSize, intermediateSize, feedForwardBias);
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

/** Numbers of a row of a place's tensor. */
export function rowLengthOf({ shape }: GgufPlace): number {
  return shape.length === 1 ? 1 : shape[1]!;
}

/**
 * Source rows of q, k and v, each absent where they are the file's. Readers of some architectures rotate neighbouring
 * pairs, so the halves of each head of q and k interleave there.
 */
function projectionRows(config: DecoderConfig, fused: boolean): { q?: Int32Array; k?: Int32Array; v?: Int32Array } {
  const { heads, kvHeads, headDim } = config;
  const { interleaved } = familyOf(config.family).gguf;
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
  const firstOfQuery = (head: number) =>
    layout.qOffset + Math.floor(head / group) * layout.qGroupStride + (head % group) * headDim;
  return {
    ...((fused || interleaved) && {
      q: rows(heads, firstOfQuery, interleaved),
      k: rows(kvHeads, (head) => layout.kOffset + head * layout.kHeadStride, interleaved),
    }),
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
