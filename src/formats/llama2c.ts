// The checkpoint and tokenizer files of llama2.c, in their first layout ("version 0"): seven numbers, then float32 weights.
// Tensors are handed out under Hugging Face's Llama names and in its order of rows. Reads only.
import { Failure } from "../protocol/errors.ts";
import { type BinaryFile, openBinary } from "./binary-file.ts";

export interface Llama2cConfig {
  hiddenSize: number;
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  vocabSize: number;
  maxPositions: number;
  /** The classifier is the embedding; written as a positive vocabulary size. */
  tieEmbeddings: boolean;
}

export interface Llama2cCheckpoint {
  config: Llama2cConfig;
  /** By Hugging Face name, for example "model.layers.0.self_attn.q_proj.weight" [outputs, inputs]. */
  tensors: Map<string, { shape: number[]; data: Float32Array }>;
}

const headerBytes = 28;
/** Larger than any model of this layout; keeps products of two sizes exact. */
const maxExtent = 1 << 24;
/** "ak42" in the later versions of the format, where this layout has its first size. */
const laterVersionMagic = 0x616b3432;

/**
 * Reads a checkpoint whole (the layout has no directory to read it by parts).
 * llama2.c rotates neighbouring pairs of a head; Hugging Face rotates halves, so the rows of q and k are re-ordered.
 * Throws a Failure with both sizes where the file does not hold exactly what its header says.
 */
export function readLlama2c(path: string): Llama2cCheckpoint {
  const file = openBinary(path, "a llama2.c checkpoint");
  try {
    const config = readConfig(file);
    const { hiddenSize, intermediateSize, layers, heads, kvHeads, vocabSize, maxPositions, tieEmbeddings } = config;
    const headDim = hiddenSize / heads;
    const kvSize = kvHeads * headDim;
    const attention = "self_attn.";
    // In the order of the file: a name, or for the tensors that come once a layer its end; then its shape.
    const layout: [name: string, perLayer: boolean, shape: number[], rotatedHeads?: number][] = [
      ["model.embed_tokens.weight", false, [vocabSize, hiddenSize]],
      ["input_layernorm.weight", true, [hiddenSize]],
      [`${attention}q_proj.weight`, true, [hiddenSize, hiddenSize], heads],
      [`${attention}k_proj.weight`, true, [kvSize, hiddenSize], kvHeads],
      [`${attention}v_proj.weight`, true, [kvSize, hiddenSize]],
      [`${attention}o_proj.weight`, true, [hiddenSize, hiddenSize]],
      ["post_attention_layernorm.weight", true, [hiddenSize]],
      ["mlp.gate_proj.weight", true, [intermediateSize, hiddenSize]],
      ["mlp.down_proj.weight", true, [hiddenSize, intermediateSize]],
      ["mlp.up_proj.weight", true, [intermediateSize, hiddenSize]],
      ["model.norm.weight", false, [hiddenSize]],
      ["", false, [maxPositions, headDim]], // cosines and sines, computed anew by whoever needs them
      ...(tieEmbeddings ? [] : [["lm_head.weight", false, [vocabSize, hiddenSize]] as [string, boolean, number[]]]),
    ];
    const floats = layout.reduce((sum, [, perLayer, shape]) => sum + (perLayer ? layers : 1) * sizeOf(shape), 0);
    const expected = headerBytes + 4 * floats;
    if (file.size !== expected) {
      throw new Failure(
        "input",
        `${path} has ${file.size} bytes, and its header (${describe(config)}) asks for ${expected}: ` +
          (file.size < expected ? "it is cut short." : "it is no llama2.c checkpoint of this layout."),
        "Get the file again from its source.",
      );
    }
    const tensors: Llama2cCheckpoint["tensors"] = new Map();
    let offset = headerBytes;
    for (const [name, perLayer, shape, rotatedHeads] of layout) {
      for (let layer = 0; layer < (perLayer ? layers : 1); layer++) {
        const end = offset + 4 * sizeOf(shape);
        if (name !== "") {
          const stored = new Float32Array(file.read(offset, end).buffer);
          const data = rotatedHeads === undefined ? stored : halvesFromPairs(stored, rotatedHeads, headDim);
          tensors.set(perLayer ? `model.layers.${layer}.${name}` : name, { shape, data });
        }
        offset = end;
      }
    }
    return { config, tensors };
  } finally {
    file.close();
  }
}

export interface Llama2cTokenizer {
  /** By id. Pieces 3 to 258 are bytes, written "<0x00>" to "<0xFF>". */
  pieces: { bytes: Uint8Array; score: number }[];
  maxPieceBytes: number;
}

/** Longest piece in bytes that is believed; published ones stay under 50. */
const maxBelievedPieceBytes = 1 << 16;

/** Reads a tokenizer file: its longest piece, then for each of the `vocabSize` ids a score, a length and the bytes. */
export function readLlama2cTokenizer(path: string, vocabSize: number): Llama2cTokenizer {
  const file = openBinary(path, "a llama2.c tokenizer");
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    const largest = 4 + vocabSize * (8 + maxBelievedPieceBytes);
    if (file.size > largest)
      throw tokenizerFailure(path, `it has ${file.size} bytes, more than ${vocabSize} pieces can take`);
    bytes = file.read(0, file.size);
  } finally {
    file.close();
  }
  const view = new DataView(bytes.buffer);
  if (bytes.length < 4) throw tokenizerFailure(path, `it has ${bytes.length} bytes, and at least 4 are needed`);
  const maxPieceBytes = view.getUint32(0, true);
  const pieces: Llama2cTokenizer["pieces"] = [];
  let offset = 4;
  while (pieces.length < vocabSize) {
    if (offset + 8 > bytes.length) {
      throw tokenizerFailure(
        path,
        `it ends at byte ${bytes.length} after ${pieces.length} pieces, and ${vocabSize} were expected`,
      );
    }
    const score = view.getFloat32(offset, true);
    const length = view.getUint32(offset + 4, true);
    offset += 8;
    if (length > maxPieceBytes || offset + length > bytes.length) {
      throw tokenizerFailure(
        path,
        `piece ${pieces.length} would have ${length} bytes, past its limit of ${maxPieceBytes} or the end of the file`,
      );
    }
    pieces.push({ bytes: bytes.subarray(offset, offset + length), score });
    offset += length;
  }
  if (offset !== bytes.length) {
    throw tokenizerFailure(
      path,
      `${bytes.length - offset} bytes follow the ${vocabSize} pieces of the model's vocabulary`,
    );
  }
  return { pieces, maxPieceBytes };
}

function readConfig(file: BinaryFile): Llama2cConfig {
  const { path, size } = file;
  if (size < headerBytes) {
    throw new Failure(
      "input",
      `${path} has ${size} bytes, and the header of a llama2.c checkpoint takes ${headerBytes}.`,
    );
  }
  const view = new DataView(file.read(0, headerBytes).buffer);
  const field = (index: number) => view.getInt32(4 * index, true);
  if (field(0) === laterVersionMagic) {
    throw new Failure(
      "input",
      `${path} is a llama2.c checkpoint of version ${field(1)}, and version 0 is read.`,
      "Export the model again with llama2.c's `export.py --version 0`.",
    );
  }
  const config: Llama2cConfig = {
    hiddenSize: field(0),
    intermediateSize: field(1),
    layers: field(2),
    heads: field(3),
    kvHeads: field(4),
    vocabSize: Math.abs(field(5)),
    maxPositions: field(6),
    tieEmbeddings: field(5) > 0,
  };
  const { hiddenSize, heads, kvHeads } = config;
  const extents = [
    hiddenSize,
    config.intermediateSize,
    config.layers,
    heads,
    kvHeads,
    config.vocabSize,
    config.maxPositions,
  ];
  if (
    extents.some((extent) => extent < 1 || extent > maxExtent) ||
    hiddenSize % heads !== 0 ||
    heads % kvHeads !== 0 ||
    (hiddenSize / heads) % 2 !== 0
  ) {
    throw new Failure(
      "input",
      `${path} is no llama2.c checkpoint: its header says ${describe(config)}.`,
      "Check the file.",
    );
  }
  return config;
}

function describe(config: Llama2cConfig): string {
  return Object.entries(config)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

/** Rows [heads * headDim, columns]: row 2i + s of a head, s of a pair, becomes row s * headDim / 2 + i. */
function halvesFromPairs(rows: Float32Array, heads: number, headDim: number): Float32Array {
  const columns = rows.length / (heads * headDim);
  const half = headDim / 2;
  const out = new Float32Array(rows.length);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) {
      const source = (head * headDim + row) * columns;
      const target = head * headDim + (row % 2) * half + (row >> 1);
      out.set(rows.subarray(source, source + columns), target * columns);
    }
  }
  return out;
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

function tokenizerFailure(path: string, fact: string): Failure {
  return new Failure(
    "input",
    `${path} is not the tokenizer of this model: ${fact}.`,
    "Give the tokenizer that the model was trained with.",
  );
}
