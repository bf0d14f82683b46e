// How the weights of a model lie that adapters are trained beside, from its header alone.
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
  type DecoderConfig,
} from "../../model/index.ts";
import type { FrozenSchemes } from "./shape.ts";

/** A model as its files describe it. A config.json alone will do; then weights are taken to be of 16 bits. */
export interface StoredModel {
  config: DecoderConfig;
  /** As they lie in the files. */
  stored: FrozenSchemes;
}

/** Throws Failure("input") for what cannot be read. */
export function readStoredModel(path: string): StoredModel {
  const gguf = ggufFileOf(path);
  if (gguf !== undefined) {
    const file = openGguf(gguf);
    try {
      const config = configFromGguf(file);
      const types = ggufPlaces(config).map(({ name, source }) => [source, file.tensors.get(name)?.type] as const);
      return { config, stored: schemesOf(types) };
    } finally {
      file.close();
    }
  }
  if (statSync(path).isFile()) return { config: readLlama2cConfig(path), stored: () => "f32" };
  const config = readConfig(path);
  if (!hasSafetensors(path)) return { config, stored: () => "bf16" };
  const source = openCheckpointTensors(path);
  try {
    return { config, stored: schemesOf([...source.tensors].map(([name, { dtype }]) => [name, dtype])) };
  } finally {
    source.close();
  }
}

/** Matrices of the blocks in 4 bits, embedding and output layer as they are stored. */
export function nf4Schemes({ config, stored }: StoredModel): FrozenSchemes {
  const { embedding, head } = familyOf(config.family).names;
  return (name) => (name === embedding || name === `${head}.weight` ? stored(name) : "nf4");
}

const schemes: Record<string, FrozenScheme> = { F32: "f32", F16: "f16", BF16: "bf16" };

function schemesOf(types: readonly (readonly [name: string, type: string | undefined])[]): FrozenSchemes {
  const byName = new Map(types);
  return (name) => {
    const type = byName.get(name) ?? "F32";
    return schemes[type] ?? (type.toLowerCase() as FrozenScheme);
  };
}
