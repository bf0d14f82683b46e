// What a quantization scheme is: one file in schemes/ that default-exports defineScheme({...}); the filename is its name.
import type { WeightScheme } from "../kernels/kernels.ts";
import type { TensorRole } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import q4_0 from "./schemes/q4_0.ts";
import q8_0 from "./schemes/q8_0.ts";

export interface Scheme {
  name: WeightScheme;
  summary: string;
  /** Its number in the key general.file_type. */
  fileType: number;
  /** How matrices of a role are stored. */
  store: Record<Exclude<TensorRole, "norm">, WeightScheme>;
}

/** All there are. */
export const schemes: readonly Scheme[] = [q4_0, q8_0];

export function findScheme(name: string): Scheme {
  const scheme = schemes.find((candidate) => candidate.name === name);
  if (scheme) return scheme;
  throw new Failure(
    "usage",
    `There is no scheme "${name}".`,
    `Use one of: ${schemes.map((known) => known.name).join(", ")}.`,
  );
}
