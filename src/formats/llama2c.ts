// The checkpoint and tokenizer files of llama2.c: its first layout ("version 0", seven numbers, then float32 weights), the
// second with a magic number, and the third with int8 weights. Tensors are handed out as float32 under Hugging Face's
// Llama names and in its order of rows. Reads only.
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
/** Versions 1 and 2 pad theirs, and add a byte that says whether the classifier is shared, then the group size of int8. */
const laterHeaderBytes = 256;
/** Larger than any model of this layout; keeps products of two sizes exact. */
const maxExtent = 1 << 24;
/** "ak42" in the later versions of the format, where the first layout has its first size. */
const laterVersionMagic = 0x616b3432;

interface Header {
  config: Llama2cConfig;
  version: 0 | 1 | 2;
  /** Where weights begin. */
  bytes: number;
  /** Numbers that share a scale in version 2, counted through the whole tensor. */
  groupSize: number;
}

/** A run of the file: one tensor, or one of every layer, one after another. */
interface Section {
  /** The name; of those that come once a layer its end; "" for numbers that nobody reads. */
  name: string;
  perLayer: boolean;
  shape: number[];
  /** Heads whose rows are rotated in pairs. */
  rotatedHeads?: number;
}

/**
 * Reads a checkpoint whole (the layout has no directory to read it by parts).
 * llama2.c rotates neighbouring pairs of a head; Hugging Face rotates halves, so the rows of q and k are re-ordered.
 * Throws a Failure with both sizes where the file does not hold exactly what its header says.
 */
export function readLlama2c(path: string): Llama2cCheckpoint {
  const file = openBinary(path, "a llama2.c checkpoint");
  try {
    const { header, layout, isInt8, bytesOf } = readLayout(file, path);
    const { config, groupSize } = header;
    const { layers, hiddenSize, heads } = config;
    const tensors: Llama2cCheckpoint["tensors"] = new Map();
    let offset = header.bytes;
    for (const section of layout) {
      const { name, perLayer, shape, rotatedHeads } = section;
      for (let layer = 0; layer < (perLayer ? layers : 1); layer++) {
        const end = offset + bytesOf(section);
        if (name !== "") {
          const bytes = file.read(offset, end);
          const stored = isInt8(section) ? fromInt8(bytes, sizeOf(shape), groupSize) : new Float32Array(bytes.buffer);
          const data = rotatedHeads === undefined ? stored : halvesFromPairs(stored, rotatedHeads, hiddenSize / heads);
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

/** The config of a checkpoint, by its header alone. Throws as `readLlama2c` does. */
export function readLlama2cHeader(path: string): Llama2cConfig {
  const file = openBinary(path, "a llama2.c checkpoint");
  try {
    return readLayout(file, path).header.config;
  } finally {
    file.close();
  }
}

/** What lies where in the file, whose size is what its header says. */
function readLayout(file: BinaryFile, path: string) {
  const header = readHeader(file);
  const { config, version, groupSize } = header;
  const layout = sections(config, version);
  const isInt8 = ({ shape }: Section) => version === 2 && shape.length > 1;
  const bytesOf = (section: Section) => {
    const numbers = sizeOf(section.shape);
    return isInt8(section) ? numbers + (4 * numbers) / groupSize : 4 * numbers;
  };
  const ragged = layout.find((section) => isInt8(section) && sizeOf(section.shape) % groupSize !== 0);
  const expected = layout.reduce(
    (sum, section) => sum + (section.perLayer ? config.layers : 1) * bytesOf(section),
    header.bytes,
  );
  if (ragged || file.size !== expected) {
    throw new Failure(
      "input",
      `${path} has ${file.size} bytes, and its header (${describe(config)}) asks for ${expected}: ` +
        (file.size < expected ? "it is cut short." : "it is no llama2.c checkpoint of this layout."),
      "Get the file again from its source.",
    );
  }
  return { header, layout, isInt8, bytesOf };
}

/** The file's tensors in its order. */
function sections(config: Llama2cConfig, version: Header["version"]): Section[] {
  const { hiddenSize, intermediateSize, heads, kvHeads, vocabSize, maxPositions, tieEmbeddings } = config;
  const headDim = hiddenSize / heads;
  const kvSize = kvHeads * headDim;
  const once = (name: string, shape: number[]): Section => ({ name, perLayer: false, shape });
  const each = (name: string, shape: number[], rotatedHeads?: number): Section => ({
    name,
    perLayer: true,
    shape,
    ...(rotatedHeads !== undefined && { rotatedHeads }),
  });
  const embedding = once("model.embed_tokens.weight", [vocabSize, hiddenSize]);
  const attentionNorm = each("input_layernorm.weight", [hiddenSize]);
  const attention = [
    each("self_attn.q_proj.weight", [hiddenSize, hiddenSize], heads),
    each("self_attn.k_proj.weight", [kvSize, hiddenSize], kvHeads),
    each("self_attn.v_proj.weight", [kvSize, hiddenSize]),
    each("self_attn.o_proj.weight", [hiddenSize, hiddenSize]),
  ];
  const feedForwardNorm = each("post_attention_layernorm.weight", [hiddenSize]);
  const feedForward = [
    each("mlp.gate_proj.weight", [intermediateSize, hiddenSize]),
    each("mlp.down_proj.weight", [hiddenSize, intermediateSize]),
    each("mlp.up_proj.weight", [intermediateSize, hiddenSize]),
  ];
  const norm = once("model.norm.weight", [hiddenSize]);
  const head = tieEmbeddings ? [] : [once("lm_head.weight", [vocabSize, hiddenSize])];
  if (version > 0) return [attentionNorm, feedForwardNorm, norm, embedding, ...attention, ...feedForward, ...head];
  // Cosines and sines are computed anew by whoever needs them.
  const rotations = once("", [maxPositions, headDim]);
  return [embedding, attentionNorm, ...attention, feedForwardNorm, ...feedForward, norm, rotations, ...head];
}

/** Signed bytes, then a float32 scale for each group of them. */
function fromInt8(bytes: Uint8Array<ArrayBuffer>, count: number, groupSize: number): Float32Array {
  const levels = new Int8Array(bytes.buffer, 0, count);
  const scales = new Float32Array(bytes.buffer.slice(count));
  return Float32Array.from(levels, (level, i) => level * scales[Math.floor(i / groupSize)]!);
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

function readHeader(file: BinaryFile): Header {
  const { path, size } = file;
  const tooShort = (bytes: number) =>
    new Failure("input", `${path} has ${size} bytes, and the header of a llama2.c checkpoint takes ${bytes}.`);
  if (size < headerBytes) throw tooShort(headerBytes);
  const start = new DataView(file.read(0, 8).buffer);
  const isLater = start.getUint32(0, true) === laterVersionMagic;
  const version = isLater ? start.getInt32(4, true) : 0;
  if (version !== 0 && version !== 1 && version !== 2) {
    throw new Failure(
      "input",
      `${path} is a llama2.c checkpoint of version ${version}, and versions 0, 1 and 2 are read.`,
      "Export the model again with llama2.c's `export.py --version 0`.",
    );
  }
  const bytes = isLater ? laterHeaderBytes : headerBytes;
  if (size < bytes) throw tooShort(bytes);
  const view = new DataView(file.read(0, bytes).buffer);
  const field = (index: number) => view.getInt32(4 * (isLater ? index + 2 : index), true);
  const tieEmbeddings = isLater ? view.getUint8(36) !== 0 : field(5) > 0;
  const groupSize = version === 2 ? view.getInt32(37, true) : 1;
  if (groupSize < 1 || groupSize > maxExtent) {
    throw new Failure("input", `${path} is no llama2.c checkpoint: its groups would have ${groupSize} numbers.`);
  }
  return { config: readConfig(path, field, tieEmbeddings), version, bytes, groupSize };
}

function readConfig(path: string, field: (index: number) => number, tieEmbeddings: boolean): Llama2cConfig {
  const config: Llama2cConfig = {
    hiddenSize: field(0),
    intermediateSize: field(1),
    layers: field(2),
    heads: field(3),
    kvHeads: field(4),
    vocabSize: Math.abs(field(5)),
    maxPositions: field(6),
    tieEmbeddings,
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
