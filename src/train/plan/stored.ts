// How the weights of a model lie, from its header alone: beside which adapters can be trained, and which as a whole.
import { statSync } from "node:fs";
import { openGguf } from "../../formats/gguf.ts";
import { openCheckpointTensors } from "../../formats/safetensors.ts";
import type { FrozenScheme } from "../../kernels/kernels.ts";
import {
  configFromGguf,
  familyOf,
  ggufFileOf,
  ggufPlaces,
  hasSafetensors,
  readConfig,
  readLlama2cConfig,
  refuseStored,
  type DecoderConfig,
} from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { TuningSettings } from "../tuning.ts";
import type { FrozenSchemes } from "./shape.ts";

/** A model as its files describe it. A config.json alone will do; then weights are taken to be of 16 bits. */
export interface StoredModel {
  config: DecoderConfig;
  /** As they lie in the files. */
  stored: FrozenSchemes;
  /** Whether they are a GGUF file's. */
  gguf?: true;
  /** A layer whose weights are in AWQ's or GPTQ's 4 bits, where there are such. */
  fourBits?: string;
}

/** Throws a Failure where the weights cannot be tuned by this method while they are held so. */
export function checkStored(
  path: string,
  stored: StoredModel,
  { method, base = "stored" }: Pick<TuningSettings, "method" | "base">,
): void {
  if (method === "full") checkWhole(path, stored);
  else if (base === "stored" && stored.fourBits !== undefined) throw refuseStored(path, stored.fourBits);
}

/** Throws Failure("usage") where the weights are not floats of a checkpoint. */
export function checkWhole(path: string, { gguf, fourBits }: StoredModel): void {
  if (!gguf && fourBits === undefined) return;
  throw new Failure(
    "usage",
    `${path} is quantized or a GGUF file, and only a checkpoint's float weights are trained as a whole.`,
    "Tune it with adapters, or give the checkpoint that it was made from.",
  );
}

/** Throws Failure("input") for what cannot be read. */
export function readStoredModel(path: string): StoredModel {
  const gguf = ggufFileOf(path);
  if (gguf !== undefined) {
    const file = openGguf(gguf);
    try {
      const config = configFromGguf(file);
      const types = ggufPlaces(config).map(({ name, source }) => [source, file.tensors.get(name)?.type] as const);
      return { config, stored: schemesOf(types), gguf: true };
    } finally {
      file.close();
    }
  }
  if (statSync(path).isFile()) return { config: readLlama2cConfig(path), stored: () => "f32" };
  const config = readConfig(path);
  if (!hasSafetensors(path)) return { config, stored: () => "bf16" };
  const source = openCheckpointTensors(path);
  try {
    const stored = schemesOf([...source.tensors].map(([name, { dtype }]) => [name, dtype]));
    const packed = [...source.tensors.keys()].find((name) => name.endsWith(packedEnding));
    return { config, stored, ...(packed !== undefined && { fourBits: packed.slice(0, -packedEnding.length) }) };
  } finally {
    source.close();
  }
}

/** Matrices of the blocks in 4 bits, embedding and output layer as they are stored. */
export function nf4Schemes({ config, stored }: StoredModel): FrozenSchemes {
  const { embedding, head } = familyOf(config.family).names;
  return (name) => (name === embedding || name === `${head}.weight` ? stored(name) : "nf4");
}

/** What AWQ and GPTQ call the packed numbers of a layer. */
const packedEnding = ".qweight";

const schemes: Record<string, FrozenScheme> = { F32: "f32", F16: "f16", BF16: "bf16" };

function schemesOf(types: readonly (readonly [name: string, type: string | undefined])[]): FrozenSchemes {
  const byName = new Map(types);
  return (name) => {
    const type = byName.get(name) ?? "F32";
    return schemes[type] ?? (type.toLowerCase() as FrozenScheme);
  };
}
