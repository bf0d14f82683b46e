// Rope scalings: which frequencies a sequence of a given length is rotated with, and how far each goes.
// Formulas as Hugging Face transformers computes them; dynamic NTK as InternLM2 publishes it.
import type { DecoderConfig } from "../config.ts";

export type RopeScaling =
  /** Positions are divided by `factor` (Chen et al., arXiv 2306.15595). */
  | { type: "linear"; factor: number }
  /** Sequences longer than maxPositions get a larger base, by their length. */
  | { type: "dynamic"; factor: number }
  /** Llama 3.1: long wavelengths are divided by `factor`, short ones kept, those between blended. */
  | { type: "llama3"; factor: number; lowFrequency: number; highFrequency: number; originalPositions: number }
  /** YaRN (Peng et al., arXiv 2309.00071). */
  | {
      type: "yarn";
      factor: number;
      originalPositions: number;
      betaFast: number;
      betaSlow: number;
      /** cos and sin are multiplied by it. */
      attentionFactor: number;
      /** The bounds of the ramp are rounded to whole dimensions. */
      truncate: boolean;
    }
  /** Frequency i is divided by factors[i]: what a GGUF file says of scalings it has no name for. */
  | { type: "factors"; factors: readonly number[] };

/** A sequence is never longer, whatever its scaling allows: as long as a config may say. */
const mostPositions = 1 << 26;

/**
 * The longest sequence, in tokens, that may be asked for. Beyond config.maxPositions it is asked for by `planRope`.
 * Dynamic scaling has no end of its own; linear and YaRN end at their factor times what the model was trained for.
 */
export function maximumPositions({ ropeScaling: scaling, maxPositions }: DecoderConfig): number {
  switch (scaling?.type) {
    case "dynamic":
      return mostPositions;
    case "linear":
      return Math.min(mostPositions, Math.floor(maxPositions * Math.max(1, scaling.factor)));
    case "yarn":
      return Math.min(mostPositions, Math.max(maxPositions, Math.floor(scaling.originalPositions * scaling.factor)));
    case "llama3":
    case "factors":
    case undefined:
      return maxPositions;
    default:
      return scaling satisfies never;
  }
}

/**
 * The base of the frequencies for a sequence of so many tokens. Dynamic NTK, for n > L = maxPositions:
 * theta * (factor * n / L - (factor - 1))^(d / (d - 2)).
 */
export function ropeBase(config: DecoderConfig, plannedTokens: number): number {
  const { ropeTheta, ropeScaling: scaling, maxPositions, headDim } = config;
  if (scaling?.type !== "dynamic" || plannedTokens <= maxPositions || headDim === 2) return ropeTheta;
  const stretch = (scaling.factor * plannedTokens) / maxPositions - (scaling.factor - 1);
  return ropeTheta * stretch ** (headDim / (headDim - 2));
}

/** Radians a position, for each pair of a head [headDim / 2]. */
export function ropeFrequencies(config: DecoderConfig, base: number): Float64Array {
  const { headDim, ropeScaling: scaling } = config;
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => base ** ((-2 * i) / headDim));
  switch (scaling?.type) {
    case undefined:
    case "dynamic":
      return plain;
    case "linear":
      return plain.map((frequency) => frequency / scaling.factor);
    case "factors":
      return plain.map((frequency, i) => frequency / scaling.factors[i]!);
    case "llama3":
      return plain.map((frequency) => llama3Frequency(frequency, scaling));
    case "yarn":
      return yarnFrequencies(plain, base, headDim, scaling);
    default:
      return scaling satisfies never;
  }
}

/** What cos and sin are multiplied by. */
export function ropeMagnitude({ ropeScaling: scaling }: DecoderConfig): number {
  return scaling?.type === "yarn" ? scaling.attentionFactor : 1;
}

/** YaRN's own choice of the attention factor: 0.1 * mscale * ln(factor) + 1. */
export function yarnMagnitude(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

function llama3Frequency(frequency: number, scaling: Extract<RopeScaling, { type: "llama3" }>): number {
  const { factor, lowFrequency, highFrequency, originalPositions } = scaling;
  // How often the pair turns over the original context.
  const turns = (originalPositions * frequency) / (2 * Math.PI);
  if (turns < lowFrequency) return frequency / factor;
  if (turns > highFrequency) return frequency;
  const smooth = (turns - lowFrequency) / (highFrequency - lowFrequency);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

function yarnFrequencies(
  plain: Float64Array,
  base: number,
  headDim: number,
  { factor, originalPositions, betaFast, betaSlow, truncate }: Extract<RopeScaling, { type: "yarn" }>,
): Float64Array {
  // The pair, as a fraction, that turns so often over the original context.
  const pairTurning = (turns: number) =>
    (headDim * Math.log(originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const fast = pairTurning(betaFast);
  const slow = pairTurning(betaSlow);
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(truncate ? Math.ceil(slow) : slow, headDim - 1);
  const width = high === low ? 0.001 : high - low;
  return plain.map((frequency, i) => {
    const interpolated = Math.min(1, Math.max(0, (i - low) / width));
    return (frequency / factor) * interpolated + frequency * (1 - interpolated);
  });
}
