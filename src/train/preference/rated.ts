// The objective over answers that were each found good or bad: KTO.
import type { Decoder } from "../../model/index.ts";
import type { Objective } from "../objective.ts";
import type { Example } from "../sampler.ts";
import type { PassOptions } from "../step.ts";
import { answerLogprobs, backwardSequences, sumSequences, withoutTraining } from "./logprobs.ts";
import { ktoBaseline, ktoLoss, type KtoLossOptions } from "./losses/kto.ts";
import {
  createGroupSampler,
  placeGroups,
  type Group,
  type GroupBatch,
  type GroupWalkOptions,
  type GroupWalkState,
} from "./packing.ts";

/** An answer after its prompt, and the answer of another example after the same prompt. */
export type RatedGroup = readonly [own: Group[number], mismatched: Group[number]];

export interface RatedObjectiveOptions extends GroupWalkOptions, PassOptions {
  decoder: Decoder;
  answers: readonly RatedGroup[];
  good: readonly boolean[];
  /** [answers][2], from `referenceLogprobs` of the same groups. */
  reference: readonly Float64Array[];
}

export interface RatedBatch {
  own: GroupBatch;
  mismatched: GroupBatch;
}

/** Rows that a group needs in the fuller of a batch's two halves. */
export function ratedLength([own, mismatched]: RatedGroup): number {
  return Math.max(own.tokens.length, mismatched.tokens.length);
}

/** The batch of these answers. */
export function placeRated(
  answers: readonly RatedGroup[],
  numbers: readonly number[],
  options: Pick<GroupWalkOptions, "rows" | "padId">,
): RatedBatch {
  const side = (which: 0 | 1): GroupBatch => {
    const chosen = numbers.map((number) => [answers[number]![which]]);
    return { ...placeGroups(chosen, [...chosen.keys()], options), groups: numbers };
  };
  return { own: side(0), mismatched: side(1) };
}

/**
 * Kahneman-Tversky optimization. The baseline of a batch is from its mismatched answers, which only go forward: the next
 * answer of the data after each prompt, as TRL pairs them.
 */
export function kto(options: RatedObjectiveOptions, loss: KtoLossOptions): Objective<RatedBatch> {
  const { decoder, answers, good, reference } = options;
  return {
    partNames: ["reward/desirable", "reward/undesirable", "kl"],
    sampler: (from) =>
      createGroupSampler(
        answers.map(ratedLength),
        options,
        (numbers) => placeRated(answers, numbers, options),
        from as GroupWalkState | undefined,
      ),
    tokens: ({ own }) => own.batch.ids.length,
    weight: ({ own }) => own.groups.length,
    run(tape, { own, mismatched }, gradientScale) {
      const trained = gradientScale !== 0;
      const numbers = own.groups;
      const moved = withoutTraining(tape, () => sumSequences(answerLogprobs(tape, decoder, mismatched, false)));
      const baseline = ktoBaseline(
        moved,
        Float64Array.from(numbers, (answer) => reference[answer]![1]!),
      );
      const passed = answerLogprobs(tape, decoder, own, trained, options);
      const logprobs = sumSequences(passed);
      const ownReference = Float64Array.from(numbers, (answer) => reference[answer]![0]!);
      const desirable = numbers.map((answer) => good[answer]!);
      const { losses, gradient } = ktoLoss({ logprobs, reference: ownReference, desirable }, baseline, loss);
      if (trained) {
        backwardSequences(
          tape,
          passed,
          gradient.map((value) => gradientScale * value),
        );
      }
      tape.reset();
      const rewards = logprobs.map((value, index) => loss.beta * (value - ownReference[index]!));
      const sumOf = (wanted: boolean): { sum: number; weight: number } => {
        const chosen = rewards.filter((_, index) => desirable[index] === wanted);
        return { sum: chosen.reduce((sum, value) => sum + value, 0), weight: chosen.length };
      };
      return {
        loss: losses.reduce((sum, value) => sum + value, 0),
        parts: {
          "reward/desirable": sumOf(true),
          "reward/undesirable": sumOf(false),
          kl: { sum: baseline * numbers.length, weight: numbers.length },
        },
      };
    },
  };
}

/** An answer after another prompt, at most `limit` tokens of both. */
export function behindPrompt(own: Example, other: Example, limit: number): Example {
  const promptTokens = own.targets.findIndex((target) => target >= 0) + 1;
  const answer = other.targets.filter((target) => target >= 0).slice(0, Math.max(1, limit + 1 - promptTokens));
  const ids = Int32Array.of(...own.tokens.subarray(0, promptTokens), ...answer);
  const targets = ids.slice(1);
  targets.fill(-1, 0, promptTokens - 1);
  return { tokens: ids.subarray(0, -1), targets };
}
