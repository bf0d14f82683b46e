// The typed door to the compute core: one function a kernel. Two implementations stand behind it:
// native (C++, float32) and reference (TypeScript, float32 or float64, written to be read).
// Everything above floor 0 computes through a `Kernels` object and never names an implementation.
//
// Arrays are row-major. "Accumulate" adds to what the output holds instead of overwriting it.
// The order in which a row is summed depends on the row alone: never on how many rows, threads or tiles.

/** Numbers of a tensor: float32 everywhere, float64 only in the reference, to check gradients. */
export type Floats = Float32Array | Float64Array;

/** nn: A[m,k] B[k,n]; nt: A[m,k] B[n,k]^T; tn: A[k,m]^T B[k,n]. The result is [m,n]. */
export type MatmulForm = "nn" | "nt" | "tn";

/** How heads lie in the rows of q, k and v, so that fused and separate projections share one kernel. */
export interface HeadLayout {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Elements from one row to the next. */
  qStride: number;
  kStride: number;
  vStride: number;
  /** First element of query head h is qOffset + floor(h / group) * qGroupStride + (h % group) * headDim, group = heads / kvHeads. */
  qOffset: number;
  qGroupStride: number;
  /** First element of key head j is kOffset + j * kHeadStride; value likewise. */
  kOffset: number;
  kHeadStride: number;
  vOffset: number;
  vHeadStride: number;
}

/** How a GGUF file stores weights, by ggml's names: blocks of 32 weights along the input, or of 256 (..._k and iq2_xxs). */
export type WeightScheme =
  | "q8_0"
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "q2_k"
  | "q3_k"
  | "q4_k"
  | "q5_k"
  | "q6_k"
  | "iq4_nl"
  | "iq2_xxs";

/** Those that `quantize` writes. */
export type EncodedScheme = "q8_0" | "q4_0";

/** What `packAffine` makes: 4-bit levels with a float scale and minimum for each 32 or 128 inputs. */
export type AffineScheme = "affine_32" | "affine_128";

/** Weights [outputs, inputs] of (level - zero) * scale. */
export interface AffineWeights {
  /** [outputs, inputs]: 0..15, one a byte. */
  readonly levels: Uint8Array;
  /** [outputs, inputs / groupSize] */
  readonly scales: Floats;
  readonly zeros: Floats;
  /** Inputs that share a scale and a zero: a multiple of 32. */
  readonly groupSize: number;
}

/** The 16-bit numbers in which checkpoints come. */
export type HalfType = "f16" | "bf16";

/**
 * Weights [outputs, inputs] laid out for one kernel. `data` is never written again, and may lie anywhere: kept beside the
 * other three and `Kernels.packedLayout`, it can be used by another process.
 */
export interface PackedWeight {
  readonly scheme: "f32" | HalfType | WeightScheme | AffineScheme;
  readonly outputs: number;
  readonly inputs: number;
  /** Floats for f32, words for f16 and bf16, bytes for the others; it may lie in a mapped file. */
  readonly data: Uint8Array | Uint16Array | Floats;
}

/** What a frozen weight may lie in. */
export type FrozenScheme = "nf4" | "f32" | HalfType | WeightScheme;

/**
 * Weights [outputs, inputs] that are never trained: a checkpoint's own bytes, row after row of outputs, or NF4. They may lie
 * in a mapped file, at any address. Unlike a `PackedWeight` they are multiplied both ways, by decoding a part at a time.
 *
 * nf4 is what bitsandbytes stores with double quantization, in one array: codes of 4 bits, two a byte, the first in the
 * high half; a code of 8 bits for each 64 weights' scale, counted over the whole weight; a float32 factor for each 256 of
 * these; the scales' mean as float32. A weight is table[code] * (map[code of the scale] * factor + mean).
 */
export interface FrozenWeight {
  readonly scheme: FrozenScheme;
  readonly outputs: number;
  readonly inputs: number;
  readonly data: Uint8Array;
}

/** Which way a frozen weight is multiplied. nt: x [rows, inputs] W^T; nn: x [rows, outputs] W. */
export type FrozenForm = "nt" | "nn";

/** Numbers of a key-value cache. int8 and int4 are levels with a scale and a zero for each head and token. */
export type KvType = "f32" | "f16" | "bf16" | "int8" | "int4";

/**
 * A paged key-value cache of one layer. Pages hold `pageTokens` positions. The keys of one page and head are a panel
 * [headDim][pageTokens]: they lie across, so that one vector load reads many positions. Those of values are
 * [pageTokens][headDim]. Panels follow each other as [page][kvHead].
 *
 * - f32: floats (float64 in the reference alone); f16, bf16: the bits as words.
 * - int8: a panel's levels as bytes in the order above, then the f16 scale of each position, then the f16 zero of each:
 *   a number is zero + level * scale.
 * - int4: likewise, two levels a byte: d in the low half and headDim / 2 + d in the high half of byte d, so that panels
 *   are [headDim / 2][pageTokens] and [pageTokens][headDim / 2] bytes. The head is rotated first, see `cacheWrite`.
 */
export interface KvPages {
  readonly type: KvType;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly pages: number;
  readonly keys: KvStorage;
  readonly values: KvStorage;
}

/** Floats for f32, words for f16 and bf16, bytes for int8 and int4. */
export type KvStorage = Floats | Uint16Array | Uint8Array;

/** Positions a page; also the block in which attention sums, in training as in serving. */
export const pageTokens = 64;

/** Bytes of one panel of a cache: the keys, or the values, of one page and head. */
export function kvPanelBytes(type: KvType, headDim: number): number {
  switch (type) {
    case "f32":
      return pageTokens * headDim * 4;
    case "f16":
    case "bf16":
      return pageTokens * headDim * 2;
    case "int8":
      return pageTokens * (headDim + 4);
    case "int4":
      return pageTokens * (headDim / 2 + 4);
    default:
      return type satisfies never;
  }
}

export interface AdamWOptions {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** 1-based step, for bias correction. */
  step: number;
  /** Gradients are multiplied by this first (clipping, averaging). */
  gradientScale: number;
}

export interface Kernels {
  readonly name: "native" | "reference";
  /** Zeroed floats, 64-byte aligned where the implementation cares. */
  allocate(length: number): Floats;

  // -- products ---------------------------------------------------------------
  /** out[m,n] = or += op(a) op(b). */
  matmul(
    out: Floats,
    a: Floats,
    b: Floats,
    m: number,
    n: number,
    k: number,
    form: MatmulForm,
    accumulate: boolean,
  ): void;
  /** Names how packed weights lie in memory: between equal names the bytes of the same weight are equal. */
  readonly packedLayout: string;
  /** Packs weight [outputs, inputs] once, to be multiplied many times. */
  packWeight(weight: Floats, outputs: number, inputs: number): PackedWeight;
  /** Packs a weight of 16-bit numbers, which it keeps: half the memory, and the products of `packWeight` to the bit. */
  packHalf(weight: Uint16Array, outputs: number, inputs: number, type: HalfType): PackedWeight;
  /** Packs blocks in the ggml layouts, row after row of outputs. `inputs` is a multiple of the block's 32 or 256. */
  packQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): PackedWeight;
  /** Packs 4-bit weights with a scale and a zero a group, as AWQ and GPTQ keep them. Of a level the lowest 4 bits count. */
  packAffine(weights: AffineWeights, outputs: number, inputs: number): PackedWeight;
  /** out[rows, outputs] = x[rows, inputs] weight^T. Low-bit weights meet activations rounded to int8 in blocks of 32 (scale amax/127). */
  matmulPacked(out: Floats, x: Floats, weight: PackedWeight, rows: number): void;
  /**
   * nt: out[rows, outputs] = or += x[rows, inputs] W^T; nn: out[rows, inputs] = or += x[rows, outputs] W. Equal to the bit to
   * `matmul` by the weight's numbers as floats, which are decoded a part at a time and never whole.
   */
  matmulFrozen(out: Floats, x: Floats, weight: FrozenWeight, rows: number, form: FrozenForm, accumulate: boolean): void;
  /** out[rows, inputs] = rows of the weight from firstRow on, as floats. */
  decodeFrozen(out: Floats, weight: FrozenWeight, firstRow: number, rows: number): void;
  /** Floats [outputs, inputs] to NF4 with double quantization. */
  quantizeNf4(weight: Floats, outputs: number, inputs: number): FrozenWeight;
  /** Floats to ggml blocks; length is a multiple of 32. */
  quantize(blocks: Uint8Array, x: Floats, scheme: EncodedScheme): void;
  /** Blocks to floats, as ggml does it; length is a multiple of the block's 32 or 256. */
  dequantize(out: Floats, blocks: Uint8Array, scheme: WeightScheme): void;

  // -- attention --------------------------------------------------------------
  /**
   * Causal attention of many documents packed in one run of rows: row r sees rows starts[r]..r.
   * out [rows, heads * headDim]; lse [rows, heads] = log of the sum of exp of the scaled scores.
   * Scores are scaled by 1 / sqrt(headDim). Sums run over blocks of `pageTokens` keys counted from starts[r].
   * With a `window` (absent or 0: none) row r sees at most the last `window` of these rows, itself included.
   */
  attention(
    out: Floats,
    lse: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    starts: Int32Array,
    layout: HeadLayout,
    window?: number,
  ): void;
  /** Gradients of `attention`. dq, dk and dv have the layout of q, k and v and are overwritten. */
  attentionBackward(
    dq: Floats,
    dk: Floats,
    dv: Floats,
    dout: Floats,
    out: Floats,
    lse: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    starts: Int32Array,
    layout: HeadLayout,
    window?: number,
  ): void;
  /**
   * Writes row r of k and v at position positions[r] of the sequence whose pages are pageTable[sequences[r] * maxPages ...].
   * f16 and bf16 round to nearest even. int8 and int4, for each head and row, with b bits, in float32:
   * zero = f16(min), scale = f16(max(0, max - zero) / (2^b - 1)), level = (x - zero) * (1 / scale) to the nearest, ties to even,
   * within 0..2^b - 1; a scale of 0 gives level 0. Beyond what f16 holds, zero and scale stop at its largest number.
   * A head with a number that is not finite becomes NaN.
   * int4 rotates a head first: the Hadamard transform of its blocks of n numbers, n the largest power of two that divides
   * headDim, over sqrt(n). Queries are rotated to meet it, and the weighted values back.
   */
  cacheWrite(
    cache: KvPages,
    k: Floats,
    v: Floats,
    sequences: Int32Array,
    positions: Int32Array,
    pageTable: Int32Array,
    maxPages: number,
    layout: HeadLayout,
  ): void;
  /**
   * Row r attends to positions 0..positions[r] of its sequence, or to the last `window` of them. Equal to the bit to
   * `attention` of the whole document, for the numbers that the cache holds. Pages before the window are not looked at.
   */
  attentionPaged(
    out: Floats,
    q: Floats,
    cache: KvPages,
    sequences: Int32Array,
    positions: Int32Array,
    pageTable: Int32Array,
    maxPages: number,
    layout: HeadLayout,
    window?: number,
  ): void;

  // -- rows -------------------------------------------------------------------
  /** y = x / sqrt(mean(x^2) + eps) * weight; rstd [rows]. x, y [rows, dim]. */
  rmsNorm(y: Floats, rstd: Floats, x: Floats, weight: Floats, rows: number, dim: number, eps: number): void;
  /** dx = or += ...; dweight += ... */
  rmsNormBackward(
    dx: Floats,
    dweight: Floats | undefined,
    dy: Floats,
    x: Floats,
    weight: Floats,
    rstd: Floats,
    rows: number,
    dim: number,
    accumulate: boolean,
  ): void;
  /**
   * Rotates, in place, `heads` heads of each row by its position (half-split "rotate_half").
   * Head h starts at offset + floor(h / group) * groupStride + (h % group) * headDim. cos and sin are [maxPosition, headDim / 2].
   * `inverse` rotates back: the gradient.
   */
  rope(
    x: Floats,
    positions: Int32Array,
    cos: Floats,
    sin: Floats,
    shape: { heads: number; headDim: number; stride: number; offset: number; group: number; groupStride: number },
    inverse: boolean,
  ): void;
  /** out = silu(gate) * up, elementwise. */
  swiglu(out: Floats, gate: Floats, up: Floats): void;
  swigluBackward(dgate: Floats, dup: Floats, dout: Floats, gate: Floats, up: Floats): void;
  /** out[r] = table[ids[r]], [rows, dim]. Ids are checked against the table. */
  embedding(out: Floats, table: Floats, ids: Int32Array, dim: number): void;
  /** dtable[ids[r]] += dout[r], in the order of r. */
  embeddingBackward(dtable: Floats, dout: Floats, ids: Int32Array, dim: number): void;
  /**
   * Per row of logits [rows, vocab]: losses[r] = -log softmax(logits[r])[targets[r]], 0 where targets[r] < 0.
   * Where gradientScale is not 0, logits become gradientScale * (softmax - onehot), or 0 for masked rows.
   */
  crossEntropy(losses: Floats, logits: Floats, targets: Int32Array, vocab: number, gradientScale: number): void;

  // -- vectors ----------------------------------------------------------------
  /** out = or += alpha * x. */
  addScaled(out: Floats, x: Floats, alpha: number, accumulate: boolean): void;
  /** Sum of squares in float64, in fixed chunks of 4096. NaN and infinity pass through. */
  sumSquares(x: Floats): number;
  /** One AdamW step, decoupled weight decay: w -= lr * (m^ / (sqrt(v^) + eps) + weightDecay * w). */
  adamW(weight: Floats, gradient: Floats, m: Floats, v: Floats, options: AdamWOptions): void;
  /** Index of the largest value, the first on a tie, of each row. */
  argmax(out: Int32Array, x: Floats, rows: number, columns: number): void;

  // -- storage types ----------------------------------------------------------
  /** Round to nearest even. */
  toBf16(out: Uint16Array, x: Floats): void;
  fromBf16(out: Floats, x: Uint16Array): void;
  toF16(out: Uint16Array, x: Floats): void;
  fromF16(out: Floats, x: Uint16Array): void;
}
