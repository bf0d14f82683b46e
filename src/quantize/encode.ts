// Encodes the tensors of a model by a scheme, and measures what each lost.
import { blockType, floatsFromBlocks, type WritableType } from "../formats/blocks.ts";
import { Failure } from "../protocol/errors.ts";
import type { Encoder } from "./encoder.ts";
import type { GgufScheme } from "./scheme.ts";
import type { SourceTensor } from "./source.ts";

export interface EncodedTensor {
  type: WritableType;
  bytes: Uint8Array;
  /** Root of the summed squares of what was lost, over that of the weights. */
  relativeError: number;
}

/** What a type gives way to where rows are not whole super-blocks of 256: the next larger with blocks of 32. */
const narrower: Partial<Record<WritableType, WritableType>> = { Q4_K: "Q5_0", Q5_K: "Q5_1", Q6_K: "Q8_0" };

/** How a tensor is stored: vectors as F32, matrices as the scheme says, or the next type that their rows fit. */
export function storedType(scheme: GgufScheme, tensor: SourceTensor, layers: number, tied: boolean): WritableType {
  if (tensor.shape.length === 1 || tensor.role === "norm") return "F32";
  const columns = tensor.shape.at(-1)!;
  let type = scheme.type({ name: tensor.name, role: tensor.role, layers, tied });
  if (columns % blockType(type).elements !== 0) type = narrower[type] ?? "F16";
  return columns % blockType(type).elements === 0 ? type : "F16";
}

/**
 * Encodes the numbers of one tensor, rows of `columns`; `importance` holds a weight a column, where they differ in it.
 * Throws a Failure where a weight is NaN, infinite or too large for the type.
 */
export async function encodeTensor(
  encoder: Encoder,
  name: string,
  type: WritableType,
  floats: Float32Array,
  columns: number,
  importance?: Float32Array,
): Promise<EncodedTensor> {
  // Q4_0 without weights of columns would be ggml's formula; a search for the scale loses less.
  const columnWeights = importance ?? (type === "Q4_0" ? new Float32Array(columns).fill(1) : undefined);
  const bytes = await encoder.encode(floats, type, columnWeights);
  const error = relativeError(floats, floatsFromBlocks(bytes, type, name)!);
  if (Number.isFinite(error)) return { type, bytes, relativeError: error };
  throw new Failure(
    "input",
    `Tensor ${name} holds a number that is NaN, infinite or too large for ${type}.`,
    "The checkpoint is damaged, or its training diverged; use an earlier one.",
  );
}

/** sqrt(sum (x - y)^2 / sum x^2), in float64; 0 where all of x is 0. */
export function relativeError(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let lost = 0;
  let whole = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = x[i]! - y[i]!;
    lost += difference * difference;
    whole += x[i]! * x[i]!;
  }
  return whole === 0 ? 0 : Math.sqrt(lost / whole);
}
