// How a request wants tokens to be chosen: its fields with their defaults, each checked against its range.
import { Failure, type GenerateRequest } from "../protocol/index.ts";
import type { PenaltyOptions } from "./penalties.ts";
import type { SamplingOptions } from "./sampler.ts";

/** Alternatives that a request may ask for at each token. */
const maxLogprobs = 100;

type Range = readonly [ok: (value: number) => boolean, range: string];

const above = (low: number, high: number): Range => [
  (value) => value > low && value <= high,
  `above ${low} and at most ${high}`,
];
const between = (low: number, high: number): Range => [
  (value) => value >= low && value <= high,
  `between ${low} and ${high}`,
];
const count: Range = [(value) => Number.isSafeInteger(value) && value >= 0, "a count, at least 0"];

const ranges = {
  temperature: between(0, 100),
  topP: above(0, 1),
  topK: count,
  minP: between(0, 1),
  typicalP: above(0, 1),
  repetitionPenalty: above(0, 100),
  presencePenalty: between(-2, 2),
  frequencyPenalty: between(-2, 2),
  seed: [Number.isSafeInteger, "an integer"],
  minTokens: count,
  logprobs: [
    (value) => Number.isSafeInteger(value) && value >= 0 && value <= maxLogprobs,
    `a count up to ${maxLogprobs}`,
  ],
  priority: [Number.isFinite, "a number"],
} satisfies Partial<Record<keyof GenerateRequest, Range>>;

const bias: Range = between(-100, 100);

/** Throws Failure("input") that names a field that is out of its range, and the range. */
export function checkNumbers(request: GenerateRequest): void {
  for (const [field, [ok, range]] of Object.entries(ranges)) {
    const value = request[field as keyof typeof ranges];
    if (value === undefined || (typeof value === "number" && ok(value))) continue;
    throw new Failure("input", `The request has a ${field} of ${String(value)}; it is ${range}.`);
  }
}

/** The request's way of choosing among tokens; its fields were checked before. */
export function samplingOf(request: GenerateRequest): SamplingOptions {
  const { temperature = 1, topP = 1, topK = 0, minP = 0, typicalP = 1, seed = 0 } = request;
  return { temperature, topP, topK, minP, typicalP, seed };
}

/** What the request does to logits. Throws Failure("input") for a bias that is out of range or of no token. */
export function penaltiesOf(request: GenerateRequest, vocabSize: number): PenaltyOptions {
  const { logitBias = {}, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = request;
  const biases = new Map<number, number>();
  for (const [key, value] of Object.entries(logitBias)) {
    const id = Number(key);
    if (!Number.isSafeInteger(id) || id < 0 || id >= vocabSize) {
      throw new Failure(
        "input",
        `The request has a logitBias for token ${key}; this model's tokens are 0 to ${vocabSize - 1}.`,
      );
    }
    if (typeof value !== "number" || !bias[0](value)) {
      throw new Failure("input", `The request has a logitBias of ${String(value)} for token ${key}; it is ${bias[1]}.`);
    }
    biases.set(id, value);
  }
  return { logitBias: biases, repetitionPenalty, presencePenalty, frequencyPenalty };
}
