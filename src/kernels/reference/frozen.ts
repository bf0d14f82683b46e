// Products by weights that are never trained in plain TypeScript: those of the same numbers as floats.
import type { Floats, FrozenWeight, Kernels } from "../kernels.ts";
import { checkDecodeFrozen, checkMatmulFrozen, checkQuantizeNf4 } from "../checks/frozen.ts";
import { blockShapes } from "../checks/products.ts";
import { matmulBf16 } from "./bf16.ts";
import { dequantize } from "./lowbit.ts";
import { matmul } from "./matmul.ts";
import { decodeNf4, encodeNf4 } from "./nf4.ts";
import { fromBf16, fromF16 } from "./vectors.ts";

/** The product by the weight's numbers as floats. */
function byFloats(multiply: Kernels["matmul"]): Kernels["matmulFrozen"] {
  return (out, x, weight, rows, form, accumulate) => {
    checkMatmulFrozen(out, x, weight, rows, form);
    const { outputs, inputs } = weight;
    const floats = new (x.constructor as new (length: number) => Floats)(outputs * inputs);
    decodeFrozen(floats, weight, 0, outputs);
    const [n, k] = form === "nt" ? [outputs, inputs] : [inputs, outputs];
    multiply(out, x, floats, rows, n, k, form, accumulate);
  };
}

/** See `Kernels.matmulFrozen`. */
export const matmulFrozen = byFloats(matmul);

/** `Kernels.matmulFrozen` of operands rounded to bfloat16; see `Precision`. */
export const matmulFrozenBf16 = byFloats(matmulBf16);

/** See `Kernels.decodeFrozen`. */
export function decodeFrozen(out: Floats, weight: FrozenWeight, firstRow: number, rows: number): void {
  checkDecodeFrozen(out, weight, firstRow, rows);
  const { scheme, outputs, inputs, data } = weight;
  const [begin, end] = [firstRow * inputs, (firstRow + rows) * inputs];
  switch (scheme) {
    case "nf4":
      decodeNf4(out, data, outputs * inputs, begin);
      break;
    case "f32":
      out.set(new Float32Array(data.slice(4 * begin, 4 * end).buffer));
      break;
    case "f16":
      fromF16(out, new Uint16Array(data.slice(2 * begin, 2 * end).buffer));
      break;
    case "bf16":
      fromBf16(out, new Uint16Array(data.slice(2 * begin, 2 * end).buffer));
      break;
    default: {
      const { elements, bytes } = blockShapes[scheme];
      dequantize(out, data.subarray((begin / elements) * bytes, (end / elements) * bytes), scheme);
    }
  }
}

/** See `Kernels.quantizeNf4`. */
export function quantizeNf4(weight: Floats, outputs: number, inputs: number): FrozenWeight {
  checkQuantizeNf4(weight, outputs, inputs);
  return { scheme: "nf4", outputs, inputs, data: encodeNf4(weight) };
}
