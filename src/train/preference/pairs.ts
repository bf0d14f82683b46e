// Objectives over pairs of answers: DPO with its variants, and ORPO.
import type { Decoder } from "../../model/index.ts";
import type { Objective, Sum } from "../objective.ts";
import type { PassOptions } from "../step.ts";
import { answerLogprobs, backwardSequences, sumSequences } from "./logprobs.ts";
import { dpoLoss, type DpoLossOptions, type PairLosses } from "./losses/dpo.ts";
import { orpoLoss } from "./losses/orpo.ts";
import {
  createGroupSampler,
  groupLength,
  placeGroups,
  type Group,
  type GroupBatch,
  type GroupWalkOptions,
  type GroupWalkState,
} from "./packing.ts";

export interface PairObjectiveOptions extends GroupWalkOptions, PassOptions {
  decoder: Decoder;
  /** The chosen and the rejected answer of each pair, each after its prompt. */
  pairs: readonly Group[];
}

/** Values of the two sides of a batch's pairs [pairs]. */
interface Sides {
  chosen: Float64Array;
  rejected: Float64Array;
}

interface PairLossOf {
  /** Of the parts that it adds. */
  partNames?: readonly string[];
  /** Whether the values are means over an answer's tokens rather than sums. */
  averaged: boolean;
  /** From the values of a batch's pairs, whose numbers are given, to losses and to what is a reward of each side. */
  lossOf(values: Sides, pairs: readonly number[]): { losses: PairLosses; rewards: Sides; parts?: Record<string, Sum> };
}

/** Direct preference optimization; `reference` [pairs][2] is from `referenceLogprobs` of the same pairs. */
export function dpo(
  options: PairObjectiveOptions & { reference: readonly Float64Array[] },
  loss: DpoLossOptions,
): Objective<GroupBatch> {
  const { pairs, reference } = options;
  const averaged = loss.loss === "ipo";
  const referenceOf = (pair: number, side: 0 | 1): number =>
    reference[pair]![side]! / (averaged ? learntTokens(pairs[pair]![side]!) : 1);
  return pairObjective(options, {
    averaged,
    lossOf({ chosen, rejected }, numbers) {
      const referenceChosen = Float64Array.from(numbers, (pair) => referenceOf(pair, 0));
      const referenceRejected = Float64Array.from(numbers, (pair) => referenceOf(pair, 1));
      return {
        losses: dpoLoss({ chosen, rejected, referenceChosen, referenceRejected }, loss),
        rewards: {
          chosen: chosen.map((value, index) => loss.beta * (value - referenceChosen[index]!)),
          rejected: rejected.map((value, index) => loss.beta * (value - referenceRejected[index]!)),
        },
      };
    },
  });
}

/** Odds ratio preference optimization. */
export function orpo(options: PairObjectiveOptions, { beta }: { beta: number }): Objective<GroupBatch> {
  return pairObjective(options, {
    averaged: true,
    partNames: ["loss/answer"],
    lossOf: ({ chosen, rejected }) => ({
      losses: orpoLoss(chosen, rejected, beta),
      rewards: { chosen: chosen.map((value) => beta * value), rejected: rejected.map((value) => beta * value) },
      parts: { "loss/answer": { sum: -total(chosen), weight: chosen.length } },
    }),
  });
}

/** Of an objective over pairs, where its batches come from and what they count. */
export function overPairs(options: PairObjectiveOptions): Pick<Objective<GroupBatch>, "sampler" | "tokens" | "weight"> {
  const { pairs } = options;
  const lengths = pairs.map(groupLength);
  return {
    sampler: (from) =>
      createGroupSampler(
        lengths,
        options,
        (groups) => placeGroups(pairs, groups, options),
        from as GroupWalkState | undefined,
      ),
    tokens: ({ batch }) => batch.ids.length,
    weight: ({ groups }) => groups.length,
  };
}

function pairObjective(
  options: PairObjectiveOptions,
  { averaged, lossOf, partNames = [] }: PairLossOf,
): Objective<GroupBatch> {
  const { decoder } = options;
  return {
    partNames: [...pairPartNames, ...partNames],
    ...overPairs(options),
    run(tape, batch, gradientScale) {
      const trained = gradientScale !== 0;
      const answers = answerLogprobs(tape, decoder, batch, trained, options);
      const values = sumSequences(answers, averaged);
      const chosen = values.filter((_, sequence) => sequence % 2 === 0);
      const rejected = values.filter((_, sequence) => sequence % 2 === 1);
      const { losses, rewards, parts } = lossOf({ chosen, rejected }, batch.groups);
      if (trained) {
        const gradients = values.map((_, sequence) => {
          const side = sequence % 2 === 0 ? losses.chosenGradient : losses.rejectedGradient;
          return gradientScale * side[sequence >> 1]!;
        });
        backwardSequences(tape, answers, gradients, averaged);
      }
      tape.reset();
      return {
        loss: total(losses.losses),
        parts: {
          ...rewardParts(rewards),
          "logprob/chosen": { sum: total(chosen), weight: chosen.length },
          "logprob/rejected": { sum: total(rejected), weight: rejected.length },
          ...parts,
        },
      };
    },
  };
}

export const rewardPartNames = ["reward/chosen", "reward/rejected", "reward/margin", "reward/accuracy"] as const;
const pairPartNames = [...rewardPartNames, "logprob/chosen", "logprob/rejected"];

/** What is watched of the rewards of pairs. */
export function rewardParts({ chosen, rejected }: Sides): Record<string, Sum> {
  const weight = chosen.length;
  const right = chosen.filter((reward, pair) => reward > rejected[pair]!).length;
  return {
    "reward/chosen": { sum: total(chosen), weight },
    "reward/rejected": { sum: total(rejected), weight },
    "reward/margin": { sum: total(chosen) - total(rejected), weight },
    "reward/accuracy": { sum: right, weight },
  };
}

/** Tokens of a sequence that have a target. */
function learntTokens({ targets }: Group[number]): number {
  return targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
