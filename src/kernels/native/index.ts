// The native kernels behind the door: each function checks its arguments, then calls compiled code.
import type { Kernels } from "../kernels.ts";
import { checkInteger } from "../checks/common.ts";
import { isHalf } from "../checks/half.ts";
import { addon } from "./addon.ts";
import { attention, attentionBackward, attentionPaged, cacheWrite } from "./attention.ts";
import { decodeFrozen, matmulFrozen, quantizeNf4 } from "./frozen.ts";
import { dequantize, matmulPackedLowBit, packAffine, packQuantized, quantize } from "./lowbit.ts";
import { matmul, matmulPackedFloats, packHalf, packWeight } from "./matmul.ts";
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

/** Grows whenever the bytes of any packed weight change. */
const packedLayoutVersion = 2;

export const nativeKernels: Kernels = {
  name: "native",
  get packedLayout() {
    return `native-${addon().isa}-${packedLayoutVersion}`;
  },
  allocate: (length: number) => {
    checkInteger("allocate", "length", length, 0, 2 ** 32 - 1);
    return addon().allocate(length);
  },
  matmul,
  packWeight,
  packQuantized,
  packAffine,
  packHalf,
  matmulPacked: (out, x, weight, rows) => {
    const multiply = weight.scheme === "f32" || isHalf(weight) ? matmulPackedFloats : matmulPackedLowBit;
    multiply(out, x, weight, rows);
  },
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
