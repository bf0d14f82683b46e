// In which numbers products are computed while a model is trained. Weights, sums and all other kernels stay float32.
import { Failure } from "../protocol/errors.ts";
import type { Kernels } from "./kernels.ts";
import { addon } from "./native/addon.ts";
import { matmulBf16 } from "./native/bf16.ts";
import { matmulFrozenBf16 } from "./native/frozen.ts";
import { matmulBf16 as referenceMatmulBf16 } from "./reference/bf16.ts";
import { matmulFrozenBf16 as referenceMatmulFrozenBf16 } from "./reference/frozen.ts";

export const precisions = ["f32", "bf16-backward", "bf16"] as const;
/** Those in which all weights are trained: with less in the forward pass the loss was measured to stay behind. */
export const trainingPrecisions = ["f32", "bf16-backward"] as const satisfies readonly Precision[];
/**
 * - f32: float32.
 * - bf16-backward: the products of the backward pass in bf16, those of the forward pass in float32.
 * - bf16: both operands rounded to bfloat16, to nearest even. Each output is one float32 chain over pairs along k, of
 *   which the second product is added first; what is smaller than a normal float32 counts as 0.
 */
export type Precision = (typeof precisions)[number];

/** Why the native kernels cannot compute in this precision here; undefined where they can. */
export function precisionMissing(precision: Precision): string | undefined {
  switch (precision) {
    case "f32":
      return undefined;
    case "bf16-backward":
    case "bf16": {
      const { isa, features } = addon();
      if (isa === "avx512" && features.split(" ").includes("avx512bf16")) return undefined;
      return `products of bfloat16 need the instructions avx512bf16, and the kernels run on ${isa} here`;
    }
    default:
      return precision satisfies never;
  }
}

const nativeBf16 = { matmul: matmulBf16, matmulFrozen: matmulFrozenBf16 };
const referenceBf16 = { matmul: referenceMatmulBf16, matmulFrozen: referenceMatmulFrozenBf16 };

/** The same kernels with `matmul` and `matmulFrozen` in this precision. Throws a Failure where the processor has none. */
export function withPrecision(kernels: Kernels, precision: Precision): Kernels {
  switch (precision) {
    case "f32":
      return kernels;
    case "bf16": {
      if (kernels.name === "reference") return { ...kernels, ...referenceBf16 };
      const missing = precisionMissing(precision);
      if (missing !== undefined) throw new Failure("environment", `${missing}.`, "Train with --precision f32.");
      return { ...kernels, ...nativeBf16 };
    }
    case "bf16-backward": {
      const reduced = withPrecision(kernels, "bf16");
      // The form says which pass it is: x W^T forward; dy W and dy^T x backward.
      return {
        ...kernels,
        matmul: (out, a, b, m, n, k, form, accumulate) =>
          (form === "nt" ? kernels : reduced).matmul(out, a, b, m, n, k, form, accumulate),
        matmulFrozen: (out, x, weight, rows, form, accumulate) =>
          (form === "nt" ? kernels : reduced).matmulFrozen(out, x, weight, rows, form, accumulate),
      };
    }
    default:
      return precision satisfies never;
  }
}
