// The reference behind the door: every kernel in plain TypeScript, for float32 and float64 alike.
import type { Kernels } from "../kernels.ts";
import { isHalf } from "../checks/half.ts";
import { attention, attentionBackward } from "./attention.ts";
import { matmulHalf, packHalf } from "./half.ts";
import { decodeFrozen, matmulFrozen, quantizeNf4 } from "./frozen.ts";
import { dequantize, matmulPacked, packAffine, packQuantized, quantize } from "./lowbit.ts";
import { matmul, packWeight } from "./matmul.ts";
import { attentionPaged, cacheWrite } from "./paged.ts";
import {
  crossEntropy,
  embedding,
  embeddingBackward,
  rmsNorm,
  rmsNormBackward,
  rope,
  swiglu,
  swigluBackward,
} from "./rows.ts";
import { adamW, addScaled, argmax, fromBf16, fromF16, sumSquares, toBf16, toF16 } from "./vectors.ts";

/** Grows whenever what a packed weight holds changes. */
const packedLayoutVersion = 2;

export const referenceKernels: Kernels = {
  name: "reference",
  packedLayout: `reference-${packedLayoutVersion}`,
  allocate: (length) => new Float32Array(length),
  matmul,
  packWeight,
  packQuantized,
  packAffine,
  packHalf,
  matmulPacked: (out, x, weight, rows) =>
    isHalf(weight) ? matmulHalf(out, x, weight, rows) : matmulPacked(out, x, weight, rows),
  matmulFrozen,
  decodeFrozen,
  quantizeNf4,
  quantize,
  dequantize,
  attention,
  attentionBackward,
  cacheWrite,
  attentionPaged,
  rmsNorm,
  rmsNormBackward,
  rope,
  swiglu,
  swigluBackward,
  embedding,
  embeddingBackward,
  crossEntropy,
  addScaled,
  sumSquares,
  adamW,
  argmax,
  toBf16,
  fromBf16,
  toF16,
  fromF16,
};
