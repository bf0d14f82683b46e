// Rope as config.json writes it: `rope_theta` with `rope_scaling`, the newer `rope_parameters`, or InternLM's `rotary`.
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import { type RopeScaling, yarnMagnitude } from "./layers/rope-scaling.ts";

const positive = z.number().positive();
const fieldsSchema = z.looseObject({
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  factor: positive.max(1e6).nullish(),
  rope_theta: positive.nullish(),
  base: positive.nullish(),
  scaling_factor: positive.max(1e6).nullish(),
  partial_rotary_factor: z.number().nullish(),
  original_max_position_embeddings: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  attention_factor: positive.nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  beta_fast: positive.nullish(),
  beta_slow: positive.nullish(),
  truncate: z.boolean().nullish(),
});

/** The fields of config.json that say how positions are rotated; whatever they hold is checked by `parseRope`. */
export const ropeFields = {
  rope_theta: positive.nullish(),
  rope_scaling: fieldsSchema.nullish(),
  rope_parameters: fieldsSchema.nullish(),
  rotary: fieldsSchema.nullish(),
  partial_rotary_factor: z.number().nullish(),
};

interface RawRope {
  rope_theta?: number | null | undefined;
  rope_scaling?: z.infer<typeof fieldsSchema> | null | undefined;
  rope_parameters?: z.infer<typeof fieldsSchema> | null | undefined;
  rotary?: z.infer<typeof fieldsSchema> | null | undefined;
  partial_rotary_factor?: number | null | undefined;
  max_position_embeddings: number;
  original_max_position_embeddings?: unknown;
}

/** The base and the scaling; `path` names the file in errors. */
export function parseRope(raw: RawRope, path: string): { ropeTheta: number; ropeScaling?: RopeScaling } {
  const [field, fields] = raw.rope_parameters
    ? (["rope_parameters", raw.rope_parameters] as const)
    : raw.rope_scaling
      ? (["rope_scaling", raw.rope_scaling] as const)
      : (["rotary", raw.rotary ?? {}] as const);
  const fail = (fact: string) => new Failure("input", `${path}: ${fact}.`, "Only rotations that are known can be run.");
  const partial = fields.partial_rotary_factor ?? raw.partial_rotary_factor ?? 1;
  if (partial !== 1) throw fail(`partial_rotary_factor is ${partial}, and heads are rotated whole`);
  const nested = Object.entries(fields).find(([, value]) => typeof value === "object" && value !== null);
  if (nested && !Array.isArray(nested[1])) throw fail(`${field}.${nested[0]} differs by layer, which is not known`);

  const ropeTheta = fields.rope_theta ?? raw.rope_theta ?? raw.rotary?.base ?? 10000;
  const type = fields.rope_type ?? fields.type ?? "default";
  const need = (name: "factor" | "low_freq_factor" | "high_freq_factor"): number => {
    const value = fields[name];
    if (value === undefined || value === null) throw fail(`${field}.${name} is missing, and "${type}" needs it`);
    return value;
  };
  const outer = raw.original_max_position_embeddings;
  const originalPositions =
    typeof outer === "number" && outer > 0
      ? outer
      : (fields.original_max_position_embeddings ?? raw.max_position_embeddings);
  switch (type) {
    case "default":
    case "origin": // InternLM's word
      return { ropeTheta };
    case "linear":
      return { ropeTheta, ropeScaling: { type: "linear", factor: need("factor") } };
    case "dynamic":
      // Without a factor InternLM takes 1, under which the base still grows with the length.
      return { ropeTheta, ropeScaling: { type: "dynamic", factor: fields.factor ?? fields.scaling_factor ?? 1 } };
    case "llama3":
      return {
        ropeTheta,
        ropeScaling: {
          type: "llama3",
          factor: need("factor"),
          lowFrequency: need("low_freq_factor"),
          highFrequency: need("high_freq_factor"),
          originalPositions,
        },
      };
    case "yarn": {
      const factor = fields.factor ?? raw.max_position_embeddings / originalPositions;
      const { mscale, mscale_all_dim: mscaleAll } = fields;
      const own =
        mscale && mscaleAll ? yarnMagnitude(factor, mscale) / yarnMagnitude(factor, mscaleAll) : yarnMagnitude(factor);
      return {
        ropeTheta,
        ropeScaling: {
          type: "yarn",
          factor,
          originalPositions,
          betaFast: fields.beta_fast ?? 32,
          betaSlow: fields.beta_slow ?? 1,
          attentionFactor: fields.attention_factor ?? own,
          truncate: fields.truncate ?? true,
        },
      };
    }
    default:
      throw fail(`${field} of type "${type}" is not known; default, linear, dynamic, llama3 and yarn are`);
  }
}

/** `rope_scaling` as transformers writes it; null without one. Throws a Failure where config.json has no word for it. */
export function formatRopeScaling(scaling: RopeScaling | undefined): Record<string, unknown> | null {
  switch (scaling?.type) {
    case undefined:
      return null;
    case "linear":
    case "dynamic":
      // "type" beside "rope_type" for the modelling code of older checkpoints.
      return { type: scaling.type, rope_type: scaling.type, factor: scaling.factor };
    case "llama3":
      return {
        rope_type: "llama3",
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequency,
        high_freq_factor: scaling.highFrequency,
        original_max_position_embeddings: scaling.originalPositions,
      };
    case "yarn":
      return {
        type: "yarn",
        rope_type: "yarn",
        factor: scaling.factor,
        original_max_position_embeddings: scaling.originalPositions,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        attention_factor: scaling.attentionFactor,
        truncate: scaling.truncate,
      };
    case "factors":
      throw new Failure(
        "input",
        "The model's rope frequencies are divided one by one, and config.json has no field for that.",
        "Keep the model as GGUF.",
      );
    default:
      return scaling satisfies never;
  }
}
