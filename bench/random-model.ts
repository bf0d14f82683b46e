// A GGUF file of a Llama shape with random weights, for measuring speed: the numbers mean nothing, their layout is real.
import { blockBytes, type BlockType } from "../src/formats/blocks.ts";
import { type GgufValue, writeGguf } from "../src/formats/gguf.ts";
import type { WeightScheme } from "../src/kernels/kernels.ts";
import { configToGguf, type DecoderConfig, ggufPlaces } from "../src/model/index.ts";
import { randomBits } from "../src/tensor/index.ts";

type Shape = Pick<DecoderConfig, "hiddenSize" | "layers" | "heads" | "kvHeads" | "intermediateSize" | "vocabSize">;

export const shapes = {
  /** llama2.c's stories15M. */
  "15M": { hiddenSize: 288, layers: 6, heads: 6, kvHeads: 6, intermediateSize: 768, vocabSize: 32000 },
  /** TinyLlama's: 1.1 B parameters. */
  "1.1B": { hiddenSize: 2048, layers: 22, heads: 32, kvHeads: 4, intermediateSize: 5632, vocabSize: 32000 },
} satisfies Record<string, Shape>;

/** Bytes that are repeated; weights need not differ from each other for their products to take as long. */
const patternBytes = 1 << 22;

/** Writes the file; every matrix is stored in the scheme, norms are ones. */
export function writeRandomModel(path: string, shape: Shape, scheme: WeightScheme): void {
  const config: DecoderConfig = {
    ...shape,
    family: "llama",
    headDim: shape.hiddenSize / shape.heads,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositions: 2048,
    tieEmbeddings: false,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.02,
  };
  const type: BlockType = scheme === "q8_0" ? "Q8_0" : "Q4_0";
  const pattern = randomBlocks(scheme);
  writeGguf(path, {
    metadata: new Map([
      ...configToGguf(config),
      ["general.file_type", { type: "uint32", value: scheme === "q8_0" ? 7 : 2 }],
      ["general.quantization_version", { type: "uint32", value: 2 }],
      ...plainVocabulary(config.vocabSize),
    ]),
    tensors: ggufPlaces(config).map(({ name, role, shape: extents }) => {
      const elements = extents.reduce((product, extent) => product * extent, 1);
      if (role === "norm") {
        const ones = new Float32Array(elements).fill(1);
        return { name, type: "F32", shape: extents, bytes: () => new Uint8Array(ones.buffer) };
      }
      return {
        name,
        type,
        shape: extents,
        bytes: () => {
          const bytes = new Uint8Array(blockBytes(type, elements));
          for (let begin = 0; begin < bytes.length; begin += pattern.length) {
            bytes.set(pattern.subarray(0, Math.min(pattern.length, bytes.length - begin)), begin);
          }
          return bytes;
        },
      };
    }),
  });
}

/** Whole blocks of random integers, with a scale that gives weights a deviation of about 0.02. */
function randomBlocks(scheme: WeightScheme): Uint8Array {
  const [bytesPerBlock, scale] = scheme === "q8_0" ? [34, 0.02 / 74] : [18, 0.02 / 4.6];
  const bytes = new Uint8Array(Math.floor(patternBytes / bytesPerBlock) * bytesPerBlock);
  for (let i = 0; i < bytes.length; i++) bytes[i] = randomBits(1, 0, i) & 255;
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < bytes.length; block += bytesPerBlock) view.setFloat16(block, scale, true);
  return bytes;
}

/** A vocabulary that llama.cpp accepts and nobody reads. */
function plainVocabulary(size: number): [string, GgufValue][] {
  const hexadecimal = (byte: number) => byte.toString(16).toUpperCase().padStart(2, "0");
  const text = (id: number) => ["<unk>", "<s>", "</s>"][id] ?? (id < 259 ? `<0x${hexadecimal(id - 3)}>` : `t${id}`);
  const texts = Array.from({ length: size }, (_, id) => text(id));
  // 3: control, 6: a byte, 1: an ordinary piece.
  const types = texts.map((_, id) => (id < 3 ? 3 : id < 259 ? 6 : 1));
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", { type: "array", items: "string", value: texts }],
    ["tokenizer.ggml.scores", { type: "array", items: "float32", value: texts.map((_, id) => -id) }],
    ["tokenizer.ggml.token_type", { type: "array", items: "int32", value: types }],
    ["tokenizer.ggml.bos_token_id", { type: "uint32", value: 1 }],
    ["tokenizer.ggml.eos_token_id", { type: "uint32", value: 2 }],
  ];
}
