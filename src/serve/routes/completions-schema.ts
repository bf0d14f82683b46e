// The body of POST /v1/completions: raw prompts, as text or as ids.
import { z } from "zod";
import type { GenerateRequest } from "../../protocol/index.ts";
import { given, parseBody } from "../body.ts";
import { HttpError } from "../errors.ts";
import { maxAnswers, maxPrompts, maxTopLogprobs } from "../limits.ts";
import { samplingShape, stopField, tokenLimit, toSampling } from "../sampling.ts";
import { harmlessShape, responseFormatSchema, streamOptions, toResponseFormat } from "./chat-schema.ts";

/** What the official API gives where no limit is given. */
const defaultMaxTokens = 16;

export const tokenIds = z.array(z.int().min(0).max(0x7fffffff)).min(1);
/** One text or several, or one list of ids or several, up to `most`. */
export const textsOrIds = (most: number) =>
  z.union([z.string(), z.array(z.string()).min(1).max(most), tokenIds, z.array(tokenIds).min(1).max(most)], {
    error: `expected a string, token ids, or a list of up to ${most} of either`,
  });

const completionRequestSchema = z.strictObject({
  model: z.string(),
  prompt: textsOrIds(maxPrompts),
  ...samplingShape,
  ...harmlessShape,
  max_tokens: z.int().min(0).optional(),
  max_completion_tokens: z.int().min(0).optional(),
  stop: stopField,
  n: z.int().min(1).max(maxAnswers).optional(),
  echo: z.boolean().optional(),
  logprobs: z.int().min(0).max(maxTopLogprobs).optional(),
  stream: z.boolean().optional(),
  stream_options: streamOptions,
  response_format: responseFormatSchema.optional(),
});
export type CompletionRequest = z.infer<typeof completionRequestSchema>;

/** Reads a body. Throws HttpError 400 that names the field. */
export function parseCompletionRequest(body: unknown): CompletionRequest {
  const request = parseBody(completionRequestSchema, body, { best_of: 1, suffix: "" });
  if (request.stream_options && !request.stream) {
    throw new HttpError(400, "stream_options is for streams; set stream to true.", { param: "stream_options" });
  }
  if (maxTokensOf(request) === 0 && !request.echo) {
    throw new HttpError(400, "max_tokens is 0, which is for echo alone.", { param: "max_tokens" });
  }
  return request;
}

export function maxTokensOf(request: CompletionRequest): number {
  return tokenLimit(request.max_tokens, request.max_completion_tokens) ?? defaultMaxTokens;
}

export type Prompt = string | readonly number[];

/** The prompts of a request, however they are written. */
export function promptsOf(prompt: z.infer<ReturnType<typeof textsOrIds>>): Prompt[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as Prompt[]);
}

/** One prompt in protocol's terms; `maxTokens` is above 0. */
export function toPromptRequest(request: CompletionRequest, prompt: Prompt): GenerateRequest {
  const { response_format: format } = request;
  return {
    input: typeof prompt === "string" ? { prompt } : { promptIds: prompt },
    ...toSampling(request),
    maxTokens: maxTokensOf(request),
    ...given({
      stop: request.stop,
      logprobs: request.logprobs,
      responseFormat: format && toResponseFormat(format),
    }),
  };
}
