// The fields of sampling and length that all generating routes share, and what they mean to the model.
import { z } from "zod";
import type { GenerateRequest } from "../protocol/index.ts";
import { given } from "./body.ts";
import { HttpError } from "./errors.ts";
import { maxBiases, maxStops } from "./limits.ts";

const maxSeed = Number.MAX_SAFE_INTEGER;

/** Fields beyond OpenAI's have the names of vLLM and LMDeploy. */
export const samplingShape = {
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().gt(0).max(1).optional(),
  // Some clients say "all" by -1.
  top_k: z.int().min(-1).optional(),
  min_p: z.number().min(0).max(1).optional(),
  typical_p: z.number().gt(0).max(1).optional(),
  repetition_penalty: z.number().gt(0).max(10).optional(),
  presence_penalty: z.number().min(-2).max(2).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  // Counted before it is walked.
  logit_bias: z
    .unknown()
    .refine((biases) => Object.keys(Object(biases)).length <= maxBiases, `at most ${maxBiases} tokens`)
    .pipe(z.record(z.string().regex(/^\d{1,9}$/, "a token id"), z.number().min(-100).max(100)))
    .optional(),
  seed: z.int().min(-maxSeed).max(maxSeed).optional(),
  min_new_tokens: z.int().min(0).optional(),
  ignore_eos: z.boolean().optional(),
  priority: z.int().min(-1000).max(1000).optional(),
};
/** A string or several, as several. */
export const stopField = z
  .union([z.string(), z.array(z.string()).max(maxStops)], { error: `expected a string or up to ${maxStops}` })
  .transform((stop) => (typeof stop === "string" ? [stop] : stop))
  .optional();

const fieldsSchema = z.object(samplingShape);
export type SamplingFields = z.infer<typeof fieldsSchema>;

/** The same in protocol's terms. */
export function toSampling(fields: SamplingFields): Partial<GenerateRequest> {
  return given({
    temperature: fields.temperature,
    topP: fields.top_p,
    topK: fields.top_k === -1 ? 0 : fields.top_k,
    minP: fields.min_p,
    typicalP: fields.typical_p,
    repetitionPenalty: fields.repetition_penalty,
    presencePenalty: fields.presence_penalty,
    frequencyPenalty: fields.frequency_penalty,
    logitBias: fields.logit_bias as Record<number, number> | undefined,
    seed: fields.seed,
    minTokens: fields.min_new_tokens,
    ignoreEos: fields.ignore_eos,
    priority: fields.priority,
  });
}

/** One limit out of its two names. Throws HttpError 400 where they differ. */
export function tokenLimit(old: number | undefined, limit: number | undefined): number | undefined {
  if (old !== undefined && limit !== undefined && old !== limit) {
    throw new HttpError(400, `max_tokens is ${old} and max_completion_tokens ${limit}; give one of them.`, {
      param: "max_tokens",
    });
  }
  return limit ?? old;
}

/** The seeds of several answers to one request: the first has the request's own. */
export function seedOf(seed: number | undefined, index: number): number {
  // The golden ratio of 2^32 keeps the answers of neighbouring seeds apart.
  return index === 0 ? (seed ?? 0) : ((seed ?? 0) + index * 0x9e3779b1) % maxSeed;
}
