// A family: how one architecture writes its config and names its tensors. The files in families/ are all there are.
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import internlm2 from "./families/internlm2.ts";
import llama from "./families/llama.ts";

/** Checkpoint names; those of linear layers are without ".weight". */
export interface TensorNames {
  embedding: string;
  norm: string;
  head: string;
  layer(index: number): {
    attentionNorm: string;
    projections: readonly [qkv: string] | readonly [q: string, k: string, v: string];
    output: string;
    feedForwardNorm: string;
    gate: string;
    up: string;
    down: string;
  };
}

export interface Family {
  /** The `model_type` of config.json. */
  name: string;
  /** The `architectures` of config.json. */
  architectures: readonly string[];
  parseConfig(json: unknown, path: string): DecoderConfig;
  formatConfig(config: DecoderConfig): Record<string, unknown>;
  names: TensorNames;
}

const families: readonly Family[] = [internlm2, llama];

/** The family of that name. */
export function familyOf(name: string): Family {
  const family = families.find((candidate) => candidate.name === name);
  if (!family) throw unknown(name, "the model");
  return family;
}

/** Reads a config.json of any known family. */
export function parseConfig(json: unknown, path: string): DecoderConfig {
  const { model_type: type, architectures } = (json ?? {}) as { model_type?: unknown; architectures?: unknown };
  const listed = Array.isArray(architectures) ? architectures : [];
  const family =
    families.find((candidate) => candidate.name === type) ??
    families.find((candidate) => candidate.architectures.some((name) => listed.includes(name)));
  if (!family) throw unknown(String(type ?? listed[0] ?? "(none)"), path);
  return family.parseConfig(json, path);
}

function unknown(name: string, where: string): Failure {
  return new Failure(
    "input",
    `${where}: architecture "${name}" is not known.`,
    `Known: ${families.map((family) => family.name).join(", ")}.`,
  );
}
