// The objective of a reward model: of two answers the chosen one gets the higher reward.
import type { Decoder } from "../../model/index.ts";
import { embedding, linear, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Objective } from "../objective.ts";
import type { PassOptions } from "../step.ts";
import { hiddenStates } from "./logprobs.ts";
import { rewardLoss, type RewardLossOptions } from "./losses/reward.ts";
import type { GroupBatch } from "./packing.ts";
import { overPairs, rewardPartNames, rewardParts, type PairObjectiveOptions } from "./pairs.ts";

/** Rewards [sequences, 1]: v_head [1, hidden] times the hidden state of each sequence's last token. */
export function sequenceRewards(
  tape: Tape,
  decoder: Decoder,
  valueHead: Tensor,
  { batch, starts }: Pick<GroupBatch, "batch" | "starts">,
  trained: boolean,
  options: PassOptions = {},
): Tensor {
  const hidden = hiddenStates(tape, decoder, batch, trained, options);
  const last = Int32Array.from(starts.subarray(1), (row) => row - 1);
  return tape.varying(() => linear(tape, embedding(tape, hidden, last), valueHead));
}

/** Pairs end with the token at which rewards are read, see `encodeForReward`. */
export function reward(
  options: PairObjectiveOptions & { valueHead: Tensor },
  loss: RewardLossOptions,
): Objective<GroupBatch> {
  const { decoder, valueHead } = options;
  return {
    partNames: rewardPartNames,
    ...overPairs(options),
    run(tape, batch, gradientScale) {
      const trained = gradientScale !== 0;
      const rewards = sequenceRewards(tape, decoder, valueHead, batch, trained, options);
      const side = (which: 0 | 1): Float64Array =>
        Float64Array.from(batch.groups, (_, pair) => rewards.data[2 * pair + which]!);
      const [chosen, rejected] = [side(0), side(1)];
      const { losses, chosenGradient, rejectedGradient } = rewardLoss(chosen, rejected, loss);
      if (trained) {
        const { grad } = tape.gradientOf(rewards);
        for (const pair of batch.groups.keys()) {
          grad[2 * pair] = gradientScale * chosenGradient[pair]!;
          grad[2 * pair + 1] = gradientScale * rejectedGradient[pair]!;
        }
        tape.backward();
      }
      tape.reset();
      return { loss: losses.reduce((sum, value) => sum + value, 0), parts: rewardParts({ chosen, rejected }) };
    },
  };
}
