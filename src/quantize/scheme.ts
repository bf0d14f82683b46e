// What a quantization scheme is: one file in schemes/ that default-exports defineScheme({...}); the filename is its name.
import type { WritableType } from "../formats/blocks.ts";
import type { TensorRole } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import awq from "./schemes/awq.ts";
import q4_0 from "./schemes/q4_0.ts";
import q4_k_m from "./schemes/q4_k_m.ts";
import q6_k from "./schemes/q6_k.ts";
import q8_0 from "./schemes/q8_0.ts";

/** A matrix of a model, as far as a scheme's rule looks at it. */
export interface SchemeMatrix {
  /** In a GGUF file: "blk.0.attn_v.weight". */
  name: string;
  role: TensorRole;
  /** Of the model. */
  layers: number;
  /** The output layer is the embedding table. */
  tied: boolean;
}

export interface GgufScheme {
  name: string;
  summary: string;
  format: "gguf";
  /** Its number in the key general.file_type. */
  fileType: number;
  /** How a matrix is stored, if its rows are whole blocks of the type. */
  type(matrix: SchemeMatrix): WritableType;
}

/** Linear layers in groups of 4-bit levels, as safetensors; the rest stays half precision. */
export interface AwqScheme {
  name: string;
  summary: string;
  format: "awq";
  /** Inputs that share a scale, where the widths allow it. */
  groupSize: number;
}

export type Scheme = GgufScheme | AwqScheme;

/** All there are. */
export const schemes: readonly Scheme[] = [q8_0, q6_k, q4_k_m, q4_0, awq];

export function findScheme(name: string): Scheme {
  const scheme = schemes.find((candidate) => candidate.name === name);
  if (scheme) return scheme;
  throw new Failure(
    "usage",
    `There is no scheme "${name}".`,
    `Use one of: ${schemes.map((known) => known.name).join(", ")}.`,
  );
}
