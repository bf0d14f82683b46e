// The reference behind the door: every kernel in plain TypeScript, for float32 and float64 alike.
import type { Kernels } from "../kernels.ts";
import { attention, attentionBackward, attentionPaged, cacheWrite } from "./attention.ts";
import { matmul } from "./matmul.ts";
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

function notYet(): never {
  throw new Error("low-bit and packed products have no reference yet");
}

export const referenceKernels: Kernels = {
  name: "reference",
  allocate: (length) => new Float32Array(length),
  matmul,
  packWeight: (weight, outputs, inputs) => ({ scheme: "f32", outputs, inputs, data: weight }),
  packQuantized: notYet,
  matmulPacked: (out, x, weight, rows) => {
    if (weight.data instanceof Uint8Array) notYet();
    matmul(out, x, weight.data, rows, weight.outputs, weight.inputs, "nt", false);
  },
  quantize: notYet,
  dequantize: notYet,
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
