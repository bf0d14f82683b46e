// Checkpoints whose linear layers lie in 4 bits as AWQ or GPTQ write them: what config.json says of it, and the layers.
import type { TensorSource } from "../../formats/safetensors.ts";
import type { Kernels, PackedWeight } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import { z } from "zod";
import { floatsOfAffine, type FourBitLayout, readFourBit } from "./four-bit.ts";

export { type AffineMatrix, awqOrder, floatsOfAffine } from "./four-bit.ts";

/** The layers of a checkpoint that are packed; the others are read as of any checkpoint. */
export interface PackedLayers {
  /** Whether the layer of this name is packed. */
  has(name: string): boolean;
  /** The weight of a packed layer, in its 4 bits. */
  weight(name: string, outputs: number, inputs: number): PackedWeight;
  /** The same layer's weight as float32 [outputs, inputs]. */
  floats(name: string, outputs: number, inputs: number): Float32Array | undefined;
  /** Whether a tensor of the file is part of a packed layer. */
  uses(tensorName: string): boolean;
}

const configSchema = z.looseObject({
  quant_method: z.string().optional(),
  bits: z.int().optional(),
  group_size: z.int().optional(),
  version: z.string().optional(),
  zero_point: z.boolean().optional(),
  desc_act: z.boolean().optional(),
  checkpoint_format: z.string().optional(),
});

const parts = new Set(["qweight", "qzeros", "scales", "g_idx"]);

/**
 * The packed layers of a checkpoint by `quantization_config` of its config.json. Throws a Failure that names what is not
 * supported: other methods than AWQ (version "gemm") and GPTQ, other widths than 4 bits.
 */
export function packedLayers(source: TensorSource, quantizationConfig: unknown, kernels: Kernels): PackedLayers {
  const layout = parseLayout(source.path, quantizationConfig);
  const isPacked = (name: string) => source.tensors.has(`${name}.qweight`);
  return {
    has: isPacked,
    weight: (name, outputs, inputs) =>
      kernels.packAffine(readFourBit(source, name, outputs, inputs, layout), outputs, inputs),
    floats: (name, outputs, inputs) =>
      isPacked(name) ? floatsOfAffine(readFourBit(source, name, outputs, inputs, layout)) : undefined,
    uses: (tensorName) => {
      const dot = tensorName.lastIndexOf(".");
      return isPacked(tensorName.slice(0, dot)) && parts.has(tensorName.slice(dot + 1));
    },
  };
}

function parseLayout(path: string, json: unknown): FourBitLayout {
  const refuse = (field: string, value: unknown, expected: string) =>
    new Failure(
      "input",
      `${path}: quantization_config.${field} of config.json is ${JSON.stringify(value ?? null)}, expected ${expected}.`,
      "Use a checkpoint in 4-bit AWQ or GPTQ, a GGUF file, or the float checkpoint.",
    );
  const parsed = configSchema.safeParse(json);
  if (!parsed.success) {
    const field = parsed.error.issues[0]!.path.join(".");
    throw refuse(field, (json as Record<string, unknown> | undefined)?.[field], parsed.error.issues[0]!.message);
  }
  const config = parsed.data;
  const { quant_method: method, group_size: groupSize = 128 } = config;
  if (method !== "awq" && method !== "gptq") throw refuse("quant_method", method, '"awq" or "gptq"');
  if (config.bits !== 4) throw refuse("bits", config.bits, "4");
  if (groupSize !== -1 && (groupSize < 32 || groupSize % 32 !== 0)) {
    throw refuse("group_size", groupSize, "-1 or a multiple of 32");
  }
  if (method === "awq") {
    const { version = "gemm", zero_point: zeroPoint = true } = config;
    if (version.toLowerCase() !== "gemm") throw refuse("version", version, '"gemm"');
    if (!zeroPoint) throw refuse("zero_point", zeroPoint, "true");
  }
  const format = config.checkpoint_format ?? "gptq";
  if (method === "gptq" && format !== "gptq" && format !== "gptq_v2") {
    throw refuse("checkpoint_format", format, '"gptq" or "gptq_v2"');
  }
  return {
    method,
    groupSize: groupSize === -1 ? undefined : groupSize,
    zeroOffset: method === "gptq" && format === "gptq" ? 1 : 0,
  };
}
