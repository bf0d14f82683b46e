// Weights that are never trained: bytes that their numbers take, and arguments of their kernels.
import type { Floats, FrozenForm, FrozenScheme, FrozenWeight } from "../kernels.ts";
import { checkFloats, checkInteger, checkLength } from "./common.ts";
import { blockShapes, checkApart, checkBytes, checkMultiple, checkOneOf } from "./products.ts";

/** Weights that share a scale, and scales that share a factor. */
export const nf4Block = 64;
export const nf4Group = 256;

/** Where the parts of an NF4 weight of so many numbers begin, and where the last ends, in bytes. */
export function nf4Parts(count: number): { scalesAt: number; factorsAt: number; meanAt: number; end: number } {
  const scalesAt = Math.ceil(count / 2);
  const factorsAt = scalesAt + Math.ceil(count / nf4Block);
  const meanAt = factorsAt + 4 * Math.ceil(Math.ceil(count / nf4Block) / nf4Group);
  return { scalesAt, factorsAt, meanAt, end: meanAt + 4 };
}

const floatBytes: Partial<Record<FrozenScheme, number>> = { f32: 4, f16: 2, bf16: 2 };
const frozenSchemes: readonly string[] = ["nf4", ...Object.keys(floatBytes), ...Object.keys(blockShapes)];
const frozenForms: readonly FrozenForm[] = ["nt", "nn"];

/** Bytes of a frozen weight's data. */
export function frozenBytes({ scheme, outputs, inputs }: Omit<FrozenWeight, "data">): number {
  switch (scheme) {
    case "nf4":
      return nf4Parts(outputs * inputs).end;
    case "f32":
    case "f16":
    case "bf16":
      return outputs * inputs * floatBytes[scheme]!;
    default: {
      const { elements, bytes } = blockShapes[scheme];
      return ((outputs * inputs) / elements) * bytes;
    }
  }
}

function checkFrozen(kernel: string, weight: FrozenWeight): void {
  const { scheme, outputs, inputs, data } = weight;
  checkOneOf(kernel, "weight.scheme", scheme, frozenSchemes);
  checkInteger(kernel, "weight.outputs", outputs, 0);
  checkInteger(kernel, "weight.inputs", inputs, 0);
  if (scheme in blockShapes) {
    checkMultiple(kernel, "weight.inputs", inputs, blockShapes[scheme as keyof typeof blockShapes].elements);
  }
  checkBytes(kernel, "weight.data", data);
  checkLength(kernel, "weight.data", data, frozenBytes(weight));
}

export function checkMatmulFrozen(out: Floats, x: Floats, weight: FrozenWeight, rows: number, form: FrozenForm): void {
  const kernel = "matmulFrozen";
  checkFloats(kernel, { out, x });
  checkFrozen(kernel, weight);
  checkInteger(kernel, "rows", rows, 0);
  checkOneOf(kernel, "form", form, frozenForms);
  const { outputs, inputs } = weight;
  checkLength(kernel, "out", out, rows * (form === "nt" ? outputs : inputs));
  checkLength(kernel, "x", x, rows * (form === "nt" ? inputs : outputs));
  checkApart(kernel, out, { x, "weight.data": weight.data });
}

export function checkDecodeFrozen(out: Floats, weight: FrozenWeight, firstRow: number, rows: number): void {
  const kernel = "decodeFrozen";
  checkFloats(kernel, { out });
  checkFrozen(kernel, weight);
  checkInteger(kernel, "firstRow", firstRow, 0, weight.outputs);
  checkInteger(kernel, "rows", rows, 0, weight.outputs - firstRow);
  checkLength(kernel, "out", out, rows * weight.inputs);
  checkApart(kernel, out, { "weight.data": weight.data });
}

export function checkQuantizeNf4(weight: Floats, outputs: number, inputs: number): void {
  const kernel = "quantizeNf4";
  checkFloats(kernel, { weight });
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  checkLength(kernel, "weight", weight, outputs * inputs);
}
