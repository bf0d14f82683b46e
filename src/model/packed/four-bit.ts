// How AWQ and GPTQ lay 4-bit weights into int32 words, and the way back to levels, scales and zeros.
// Both store matrices transposed: w[output, input] = (level - zero) scale of the input's group.
import type { TensorSource } from "../../formats/safetensors.ts";
import { readFloats } from "../../formats/safetensors.ts";
import { Failure } from "../../protocol/errors.ts";

/** A matrix of 4-bit levels; w = (level - zero) * scale. */
export interface AffineMatrix {
  /** [outputs, inputs], 0 to 15. */
  levels: Uint8Array;
  /** [outputs, inputs / groupSize] */
  scales: Float32Array;
  /** [outputs, inputs / groupSize] */
  zeros: Float32Array;
  /** Inputs that share a scale. */
  groupSize: number;
}

export interface FourBitLayout {
  method: "awq" | "gptq";
  /** Undefined: all inputs of an output share one scale. */
  groupSize: number | undefined;
  /** What is added to a stored zero. */
  zeroOffset: 0 | 1;
}

/** Nibble i of a word of AWQ holds column awqOrder[i] of its eight. */
export const awqOrder = [0, 2, 4, 6, 1, 3, 5, 7] as const;

/** Reads the tensors NAME.qweight, .qzeros, .scales and, for GPTQ, .g_idx, which must not reorder the inputs. */
export function readFourBit(
  source: TensorSource,
  name: string,
  outputs: number,
  inputs: number,
  { method, groupSize: declared, zeroOffset }: FourBitLayout,
): AffineMatrix {
  const groupSize = declared ?? inputs;
  if (inputs % groupSize !== 0 || groupSize % 32 !== 0 || outputs % 8 !== 0) {
    throw new Failure(
      "input",
      `${source.path}: ${name} has ${inputs} inputs and ${outputs} outputs, which groups of ${groupSize} inputs and words of 8 outputs do not divide.`,
      "Use a checkpoint whose group_size is a multiple of 32 that divides the model's sizes.",
    );
  }
  const groups = inputs / groupSize;
  const words = (part: string, rows: number, columns: number): Int32Array => {
    const entry = source.tensors.get(`${name}.${part}`);
    if (entry?.dtype !== "I32" || entry.shape.length !== 2 || entry.shape[0] !== rows || entry.shape[1] !== columns) {
      throw new Failure(
        "input",
        `${source.path}: tensor ${name}.${part} is ${entry ? `${entry.dtype} [${entry.shape.join(", ")}]` : "missing"}, expected I32 [${rows}, ${columns}] for 4-bit ${method}.`,
        "Is quantization_config of config.json that of these weights?",
      );
    }
    return new Int32Array(source.bytes(`${name}.${part}`).buffer);
  };
  const scaleShape = source.tensors.get(`${name}.scales`)?.shape ?? [];
  if (scaleShape.length !== 2 || scaleShape[0] !== groups || scaleShape[1] !== outputs) {
    throw new Failure(
      "input",
      `${source.path}: tensor ${name}.scales is [${scaleShape.join(", ")}], expected [${groups}, ${outputs}].`,
      "Is group_size in quantization_config of config.json that of these weights?",
    );
  }
  if (method === "gptq") checkOrder(source, name, inputs, groupSize);

  const levels = new Uint8Array(outputs * inputs);
  if (method === "awq") {
    const packed = words("qweight", inputs, outputs / 8);
    for (let input = 0, at = 0; input < inputs; input++) {
      for (let first = 0; first < outputs; first += 8, at++) {
        const word = packed[at]!;
        for (let i = 0; i < 8; i++) levels[(first + awqOrder[i]!) * inputs + input] = (word >>> (4 * i)) & 15;
      }
    }
  } else {
    const packed = words("qweight", inputs / 8, outputs);
    for (let first = 0, at = 0; first < inputs; first += 8) {
      for (let output = 0; output < outputs; output++, at++) {
        const word = packed[at]!;
        for (let i = 0; i < 8; i++) levels[output * inputs + first + i] = (word >>> (4 * i)) & 15;
      }
    }
  }
  const packedZeros = words("qzeros", groups, outputs / 8);
  const storedScales = readFloats(source, `${name}.scales`);
  const scales = new Float32Array(outputs * groups);
  const zeros = new Float32Array(outputs * groups);
  for (let group = 0; group < groups; group++) {
    for (let output = 0; output < outputs; output++) {
      const within = output % 8;
      const word = packedZeros[group * (outputs / 8) + (output - within) / 8]!;
      const nibble = method === "awq" ? awqOrder.indexOf(within as never) : within;
      zeros[output * groups + group] = ((word >>> (4 * nibble)) & 15) + zeroOffset;
      scales[output * groups + group] = storedScales[group * outputs + output]!;
    }
  }
  return { levels, scales, zeros, groupSize };
}

/** [outputs, inputs] in float32. */
export function floatsOfAffine({ levels, scales, zeros, groupSize }: AffineMatrix): Float32Array {
  const out = new Float32Array(levels.length);
  for (let group = 0; group < scales.length; group++) {
    const scale = scales[group]!;
    const zero = zeros[group]!;
    for (let i = group * groupSize; i < (group + 1) * groupSize; i++) out[i] = (levels[i]! - zero) * scale;
  }
  return out;
}

/** Refuses an order of inputs ("act-order") that is not that of the model. */
function checkOrder(source: TensorSource, name: string, inputs: number, groupSize: number): void {
  const key = `${name}.g_idx`;
  const entry = source.tensors.get(key);
  if (entry === undefined) return;
  const fits = entry.dtype === "I32" && entry.shape.length === 1 && entry.shape[0] === inputs;
  const groups = fits ? new Int32Array(source.bytes(key).buffer) : undefined;
  if (groups?.every((group, input) => group === Math.floor(input / groupSize))) return;
  throw new Failure(
    "input",
    `${source.path}: tensor ${key} gives inputs to groups in another order than they come in (desc_act), which is not supported.`,
    "Use a checkpoint that was quantized with desc_act false.",
  );
}
