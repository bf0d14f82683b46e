// A family: how one architecture writes its config and names its tensors. The files in families/ are all there are.
import { Failure } from "../protocol/errors.ts";
import type { DecoderConfig } from "./config.ts";
import internlm from "./families/internlm.ts";
import internlm2 from "./families/internlm2.ts";
import internlm3 from "./families/internlm3.ts";
import llama from "./families/llama.ts";
import mistral from "./families/mistral.ts";
import qwen2 from "./families/qwen2.ts";
import qwen3 from "./families/qwen3.ts";
import qwen3Moe from "./families/qwen3_moe.ts";

/** Checkpoint names; those of linear layers are without ".weight" and ".bias". */
export interface TensorNames {
  embedding: string;
  norm: string;
  head: string;
  layer(index: number): {
    attentionNorm: string;
    projections: readonly [qkv: string] | readonly [q: string, k: string, v: string];
    /** Where the family has them. */
    qNorm?: string;
    kNorm?: string;
    output: string;
    feedForwardNorm: string;
    gate: string;
    up: string;
    down: string;
    /** Where the family has experts; the router's with ".weight". */
    router?: string;
    expert?(index: number): { gate: string; up: string; down: string };
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
  /** How a GGUF file holds it: the architecture's name, and whether readers rotate neighbouring pairs of a head. */
  gguf: { architecture: string; interleaved: boolean };
}

const families: readonly Family[] = [internlm, internlm2, internlm3, llama, mistral, qwen2, qwen3, qwen3Moe];

/** The names of all families. */
export function familyNames(): string[] {
  return families.map(({ name }) => name);
}

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
