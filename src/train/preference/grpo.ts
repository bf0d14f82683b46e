// The objective over prompts: answers are made by the model as it is, judged, and learnt from by how they compare.
// Who makes and who judges them is given: this file knows neither an engine nor a verifier.
import type { Decoder } from "../../model/index.ts";
import { randomBits, randomPermutation, type Tape } from "../../tensor/index.ts";
import { packEpoch } from "../data/packing.ts";
import type { Objective, Sum } from "../objective.ts";
import type { Example } from "../sampler.ts";
import type { PassOptions } from "../step.ts";
import { answerLogprobs, withoutTraining, type AnswerLogprobs } from "./logprobs.ts";
import { groupAdvantages, grpoLoss, type GrpoLossOptions } from "./losses/grpo.ts";
import { placeGroups, type GroupBatch } from "./packing.ts";
import type { Rollout, RolloutStore } from "./rollouts.ts";

export interface GrpoOptions extends GrpoLossOptions {
  /** Answers to each prompt that are measured against each other. */
  group: number;
  /** Prompts of a batch. */
  prompts: number;
  /** Steps that learn from the same answers. */
  innerSteps: number;
  /** Whether advantages are divided by the deviation of their group's rewards. */
  scaleRewards: boolean;
}

export interface GrpoObjectiveOptions extends GrpoOptions, PassOptions {
  decoder: Decoder;
  /** Ids of each prompt, up to where the answer begins. */
  promptIds: readonly Int32Array[];
  /** Of prompts that are held out: their numbers go on behind those. */
  heldOutIds?: readonly Int32Array[];
  /** Batches of a step, of all ranks together. */
  accumulate: number;
  /** Rows of a pass, the longest prompt with its answer among them. */
  rows: number;
  padId: number;
  seed: number;
  /** Draws one answer for each prompt, from the weights of now and by the seed alone. */
  answer(prompts: readonly Int32Array[], seeds: readonly number[]): Promise<{ ids: number[]; ended: boolean }[]>;
  /** Judges an answer to the prompt of this number. */
  judge(
    prompt: number,
    ids: readonly number[],
  ): Promise<{ text: string; reward: number; parts: Record<string, number> }>;
  /** Runs work with the model that training started from; needed where the divergence from it counts. */
  withReference?<Result>(work: (decoder: Decoder) => Result): Result;
  store: RolloutStore;
}

export interface GrpoBatch {
  /** Which answers it learns from, and which of the steps that do so this is. */
  round: number;
  place: number;
  inner: number;
  /** Numbers of the prompts. */
  prompts: readonly number[];
  /** Answers are made anew each time that it is prepared, by the same seeds, and nothing is learnt from them. */
  heldOut?: true;
}

/** Batches of prompts that are held out, to be looked at now and then. */
export function heldOutPrompts(
  numbers: readonly number[],
  { prompts: count }: Pick<GrpoOptions, "prompts">,
): GrpoBatch[] {
  return Array.from({ length: Math.ceil(numbers.length / count) }, (_, place) => ({
    round: -1,
    place,
    inner: 0,
    prompts: numbers.slice(place * count, (place + 1) * count),
    heldOut: true,
  }));
}

interface WalkState {
  /** Batches that were given. */
  batch: number;
}

/**
 * Group relative policy optimization (Shao et al., arXiv 2402.03300). As its loss it tells minus the reward; the gradient is
 * the surrogate's, whose value is near 0 whatever is learnt and is told beside.
 */
export function grpo(options: GrpoObjectiveOptions): Objective<GrpoBatch> {
  const { decoder, group, store, innerSteps, klWeight } = options;
  const promptIds = [...options.promptIds, ...(options.heldOutIds ?? [])];
  const prepared = new Map<string, Rollout[]>();
  const keyOf = ({ round, place }: GrpoBatch): string => `${round} ${place}`;

  async function prepare(tape: Tape, batch: GrpoBatch): Promise<void> {
    const key = keyOf(batch);
    if (batch.heldOut) {
      prepared.set(key, await rollOut(batch));
      return;
    }
    if (prepared.has(key)) return;
    for (const old of prepared.keys()) if (Number(old.split(" ")[0]) !== batch.round) prepared.delete(old);
    const held = store.load(batch.round, batch.place);
    if (held) {
      prepared.set(key, held);
      return;
    }
    const rollouts = await rollOut(batch);
    if (innerSteps > 1) addLogprobs(tape, decoder, rollouts, "old");
    if (klWeight > 0) {
      if (!options.withReference)
        throw new TypeError("a divergence that counts needs the model that training started from");
      options.withReference((reference) => addLogprobs(tape, reference, rollouts, "reference"));
    }
    store.save(batch.round, batch.place, rollouts);
    prepared.set(key, rollouts);
  }

  /** Makes and judges a group of answers to each prompt of a batch. */
  async function rollOut({ round, place, prompts }: GrpoBatch): Promise<Rollout[]> {
    const wanted = prompts.flatMap((prompt) => Array.from({ length: group }, () => prompt));
    const seeds = wanted.map((_, index) => randomBits(options.seed, 1 + round, place * wanted.length + index));
    const answers = await options.answer(
      wanted.map((prompt) => promptIds[prompt]!),
      seeds,
    );
    const rollouts: Rollout[] = [];
    for (const [index, { ids, ended }] of answers.entries()) {
      const prompt = wanted[index]!;
      const { text, reward, parts } = await options.judge(prompt, ids);
      rollouts.push({ prompt, ids, text, ended, reward, rewards: parts, advantage: 0 });
    }
    const rewards = Float64Array.from(rollouts, ({ reward }) => reward);
    const advantages = groupAdvantages(rewards, group, options.scaleRewards);
    for (const [index, rollout] of rollouts.entries()) rollout.advantage = advantages[index]!;
    return rollouts;
  }

  function addLogprobs(tape: Tape, by: Decoder, rollouts: readonly Rollout[], name: "old" | "reference"): void {
    for (const pack of packsOf(rollouts)) {
      withoutTraining(tape, () => {
        const passed = answerLogprobs(tape, by, pack, false);
        for (const [sequence, index] of pack.groups.entries()) rollouts[index]![name] = tokensOf(passed, sequence);
      });
    }
  }

  /** Prompts with their answers, packed into passes. */
  function packsOf(rollouts: readonly Rollout[]): GroupBatch[] {
    const groups = rollouts.map(({ prompt, ids }) => [exampleOf(promptIds[prompt]!, ids)]);
    const lengths = groups.map(([example]) => example!.tokens.length);
    return packEpoch(lengths, options, 0).map((chosen) => {
      const rows = fittingRows(
        chosen.reduce((sum, each) => sum + lengths[each]!, 0),
        options.rows,
      );
      return placeGroups(groups, chosen, { rows, padId: options.padId });
    });
  }

  return {
    lossMeasures: false,
    manyPasses: true,
    sampler: (from) => createPromptSampler(options, from as WalkState | undefined),
    tokens: (batch) =>
      (prepared.get(keyOf(batch)) ?? []).reduce(
        (sum, { prompt, ids }) => sum + promptIds[prompt]!.length + ids.length,
        0,
      ),
    weight: ({ prompts }) => prompts.length * group,
    prepare,
    run(tape, batch, gradientScale) {
      const rollouts = prepared.get(keyOf(batch));
      if (!rollouts) throw new Error("a batch of prompts is run that was not prepared");
      const loss = -rollouts.reduce((sum, { reward }) => sum + reward, 0);
      if (batch.heldOut) return { loss, parts: answerParts(rollouts) };
      const allTokens = rollouts.reduce((sum, { ids }) => sum + ids.length, 0);
      const tokenShare = rollouts.length / allTokens;
      const found = { surrogate: 0, kl: 0, clipped: 0 };
      for (const pack of packsOf(rollouts)) {
        const passed = answerLogprobs(tape, decoder, pack, gradientScale !== 0, options);
        const own = pack.groups.map((index) => rollouts[index]!);
        const logprobs = Float64Array.from(passed.logprobs.data);
        const part = grpoLoss(
          {
            logprobs,
            old: innerSteps > 1 ? join(own, "old") : logprobs,
            reference: klWeight > 0 ? join(own, "reference") : undefined,
            starts: passed.starts,
            advantages: Float64Array.from(own, ({ advantage }) => advantage),
          },
          options,
          tokenShare,
        );
        if (gradientScale !== 0) {
          const { grad } = tape.gradientOf(passed.logprobs);
          for (const [token, value] of part.gradient.entries()) grad[token] = gradientScale * value;
          tape.backward();
        }
        tape.reset();
        found.surrogate += part.loss;
        found.kl += part.kl;
        found.clipped += part.clipped;
      }
      return {
        loss,
        parts: {
          ...answerParts(rollouts),
          surrogate: { sum: found.surrogate, weight: rollouts.length },
          kl: { sum: found.kl, weight: allTokens },
          clipped: { sum: found.clipped, weight: allTokens },
        },
      };
    },
  };
}

function answerParts(rollouts: readonly Rollout[]): Record<string, Sum> {
  const weight = rollouts.length;
  const meanOf = (value: (rollout: Rollout) => number): Sum => ({
    sum: rollouts.reduce((sum, rollout) => sum + value(rollout), 0),
    weight,
  });
  const names = new Set(rollouts.flatMap(({ rewards }) => Object.keys(rewards)));
  return {
    reward: meanOf(({ reward }) => reward),
    ...(names.size > 1 &&
      Object.fromEntries([...names].map((name) => [`reward/${name}`, meanOf(({ rewards }) => rewards[name] ?? 0)]))),
    "answer/tokens": meanOf(({ ids }) => ids.length),
    "answer/ended": meanOf(({ ended }) => (ended ? 1 : 0)),
    // Groups whose answers are all worth the same teach nothing.
    "group/equal": meanOf(({ advantage }) => (advantage === 0 ? 1 : 0)),
  };
}

/** Prompts in a shuffled order, an epoch after another; every batch is given once for each step that learns from it. */
function createPromptSampler(
  { promptIds, prompts: count, accumulate, innerSteps, seed }: GrpoObjectiveOptions,
  from: WalkState = { batch: 0 },
): { state: WalkState; next(): GrpoBatch } {
  const state = { ...from };
  let order: { epoch: number; prompts: Uint32Array } | undefined;
  const promptAt = (place: number): number => {
    const epoch = Math.floor(place / promptIds.length);
    if (order?.epoch !== epoch) order = { epoch, prompts: randomPermutation(seed, epoch, promptIds.length) };
    return order.prompts[place % promptIds.length]!;
  };
  return {
    state,
    next() {
      const step = Math.floor(state.batch / accumulate);
      const place = state.batch % accumulate;
      const round = Math.floor(step / innerSteps);
      state.batch++;
      const first = (round * accumulate + place) * count;
      return {
        round,
        place,
        inner: step % innerSteps,
        prompts: Array.from({ length: count }, (_, index) => promptAt(first + index)),
      };
    },
  };
}

/** A prompt and its answer as a sequence in which the answer alone is learnt. */
function exampleOf(prompt: Int32Array, answer: readonly number[]): Example {
  const ids = Int32Array.of(...prompt, ...answer);
  const targets = ids.slice(1);
  targets.fill(-1, 0, prompt.length - 1);
  return { tokens: ids.subarray(0, -1), targets };
}

/** Few sizes, for buffers are kept by size: a power of two or one and a half of it, at most `most`. */
function fittingRows(needed: number, most: number): number {
  let rows = 64;
  while (rows < needed) rows = Number.isInteger(Math.log2(rows)) ? rows * 1.5 : (rows / 3) * 4;
  return Math.min(rows, most);
}

function tokensOf({ logprobs, starts }: AnswerLogprobs, sequence: number): number[] {
  return [...logprobs.data.subarray(starts[sequence], starts[sequence + 1])];
}

function join(rollouts: readonly Rollout[], name: "old" | "reference"): Float64Array {
  return Float64Array.from(rollouts.flatMap((rollout) => rollout[name]!));
}
