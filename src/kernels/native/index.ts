// The native kernels behind the door: each function checks its arguments, then calls compiled code.
import type { Kernels } from "../kernels.ts";
import { checkInteger } from "../checks/common.ts";
import { referenceKernels } from "../reference/index.ts";
import { addon } from "./addon.ts";
import { attention, attentionBackward, attentionPaged, cacheWrite } from "./attention.ts";
import { matmul, matmulPackedFloats, packWeight } from "./matmul.ts";
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

export const nativeKernels: Kernels = {
  // Families that are not compiled yet.
  ...referenceKernels,
  name: "native",
  allocate: (length: number) => {
    checkInteger("allocate", "length", length, 0, 2 ** 32 - 1);
    return addon().allocate(length);
  },
  matmul,
  packWeight,
  matmulPacked: (out, x, weight, rows) =>
    (weight.scheme === "f32" ? matmulPackedFloats : referenceKernels.matmulPacked)(out, x, weight, rows),
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
