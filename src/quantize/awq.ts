// Writes a checkpoint whose linear layers lie in 4 bits as AWQ has them ("gemm"), as transformers, vLLM and LMDeploy load
// it. A model of another family is written as the Llama that it is equal to; see ModelSource.config.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bytesFromFloats, elementBytes } from "../formats/dtype.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { familyOf, ggufPlaces, invertRows, pickRows, rowLengthOf } from "../model/index.ts";
import { awqOrder } from "../model/packed/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { sizeOf } from "../tensor/index.ts";
import type { Adjustment } from "./calibration/calibrate.ts";
import { clipGroups } from "./calibration/clip.ts";
import { affineGroups, affineRounding } from "./calibration/rounding.ts";
import { relativeError } from "./encode.ts";
import type { TensorReport } from "./report.ts";
import type { ModelSource } from "./source.ts";

/** The largest group of at most `most` inputs that divides the inputs of every linear layer. Throws where there is none. */
export function awqGroupSize({ path, tensors }: ModelSource, most: number): number {
  const layers = tensors.filter(({ role }) => role === "projection");
  for (let size = most; size >= 32; size /= 2) {
    if (layers.every(({ shape }) => shape[1]! % size === 0 && shape[0]! % 8 === 0)) return size;
  }
  throw new Failure(
    "input",
    `${path}: a linear layer has inputs that are no multiple of 32, or outputs that are none of 8, which AWQ cannot hold.`,
    "Use a GGUF scheme: q4_0 or q4_k_m.",
  );
}

/** Writes config.json and model.safetensors into `directory`; `source` is adjusted already. Returns what each tensor lost. */
export async function* writeAwq(
  kernels: Kernels,
  directory: string,
  source: ModelSource,
  groupSize: number,
  adjustments: ReadonlyMap<string, Adjustment>,
  signal: AbortSignal,
): Job<{ tensors: TensorReport[]; bytes: number }> {
  const { config } = source;
  const stored = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const places = ggufPlaces(config);
  const written: TensorToWrite[] = [];
  const reports: TensorReport[] = [];
  for (const [index, place] of places.entries()) {
    signal.throwIfAborted();
    const floats = stored.get(place.name)!.floats();
    const ordered = place.rows ? pickRows(floats, invertRows(place.rows), rowLengthOf(place)) : floats;
    const { name, source: target, shape } = place;
    if (place.role === "projection") {
      const inputs = adjustments.get(name)?.inputs;
      const clipped =
        inputs && !/\.attn_[qk]\.weight$/.test(name)
          ? clipGroups(kernels, ordered, shape[1]!, inputs, affineRounding(groupSize))
          : ordered;
      const { tensors, decoded } = packAwq(target.replace(/\.weight$/, ""), clipped, shape, groupSize);
      written.push(...tensors);
      reports.push({ name, source: target, type: "AWQ", shape, weightError: relativeError(ordered, decoded) });
    } else {
      const bytes = bytesFromFloats(ordered, "F16");
      const halves = new Float16Array(bytes.buffer, bytes.byteOffset, ordered.length);
      written.push({ name: target, dtype: "F16", shape, bytes });
      reports.push({ name, source: target, type: "F16", shape, weightError: relativeError(ordered, halves) });
    }
    if (!Number.isFinite(reports.at(-1)!.weightError)) {
      throw new Failure(
        "input",
        `Tensor ${target} holds a number that is NaN, infinite or too large for half precision.`,
        "The checkpoint is damaged, or its training diverged; use an earlier one.",
      );
    }
    yield { type: "progress", step: "quantize", done: index + 1, total: places.length, unit: "tensors" };
  }
  const json = {
    ...familyOf(config.family).formatConfig(config),
    torch_dtype: "float16",
    quantization_config: {
      quant_method: "awq",
      bits: 4,
      group_size: groupSize,
      zero_point: true,
      version: "gemm",
      modules_to_not_convert: null,
    },
  };
  writeFileSync(join(directory, "config.json"), `${JSON.stringify(json, null, 2)}\n`);
  writeSafetensors(join(directory, "model.safetensors"), written, { format: "pt" });
  const bytes = written.reduce((sum, { dtype, shape }) => sum + elementBytes[dtype] * sizeOf(shape), 0);
  return { tensors: reports, bytes };
}

/** [outputs, inputs] to qweight [inputs, outputs / 8], qzeros [groups, outputs / 8] and scales [groups, outputs]. */
function packAwq(
  name: string,
  weights: Float32Array,
  shape: readonly number[],
  groupSize: number,
): { tensors: TensorToWrite[]; decoded: Float32Array } {
  const [outputs, inputs] = shape as [number, number];
  const groups = inputs / groupSize;
  const { scales, zeros } = affineGroups(weights, groupSize, 16);
  const decoded = new Float32Array(weights.length);
  const qweight = new Int32Array((inputs * outputs) / 8);
  const qzeros = new Int32Array((groups * outputs) / 8);
  const across = new Float32Array(groups * outputs);
  for (let output = 0; output < outputs; output++) {
    const word = output >> 3;
    const shift = 4 * awqOrder.indexOf((output & 7) as (typeof awqOrder)[number]);
    for (let group = 0; group < groups; group++) {
      const scale = scales[output * groups + group]!;
      const zero = zeros[output * groups + group]!;
      across[group * outputs + output] = scale;
      qzeros[(group * outputs) / 8 + word]! |= zero << shift;
      for (let input = group * groupSize; input < (group + 1) * groupSize; input++) {
        const weight = weights[output * inputs + input]!;
        const level = Math.max(0, Math.min(15, Math.floor(weight / scale + 0.5) + zero));
        decoded[output * inputs + input] = Number.isFinite(weight) ? (level - zero) * scale : weight;
        qweight[(input * outputs) / 8 + word]! |= level << shift;
      }
    }
  }
  const bytesOf = ({ buffer }: Int32Array<ArrayBuffer>) => new Uint8Array(buffer);
  return {
    tensors: [
      { name: `${name}.qweight`, dtype: "I32", shape: [inputs, outputs / 8], bytes: bytesOf(qweight) },
      { name: `${name}.qzeros`, dtype: "I32", shape: [groups, outputs / 8], bytes: bytesOf(qzeros) },
      { name: `${name}.scales`, dtype: "F16", shape: [groups, outputs], bytes: bytesFromFloats(across, "F16") },
    ],
    decoded,
  };
}
