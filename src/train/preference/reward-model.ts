// Reward models as files and in use: written beside their tokenizer, loaded again, and asked what answers are worth.
import type { Kernels } from "../../kernels/kernels.ts";
import {
  loadRewardCheckpoint,
  mergeInto,
  rewardConfigFields,
  valueHeadName,
  writeModelFiles,
  type DecoderConfig,
  type RewardCheckpoint,
  type WeightType,
} from "../../model/index.ts";
import type { Message, ToolDefinition } from "../../protocol/message.ts";
import { createTape, tensor, type Tensor } from "../../tensor/index.ts";
import { tokenizerOf, type Tokenizer } from "../../tokenizer/index.ts";
import type { Example } from "../sampler.ts";
import type { TunedModel } from "../tuning.ts";
import { withoutTraining } from "./logprobs.ts";
import { groupBatches, groupLength, type Group } from "./packing.ts";
import { sequenceRewards } from "./reward-objective.ts";

export interface RewardModel extends RewardCheckpoint {
  kernels: Kernels;
  tokenizer: Tokenizer;
}

/** The token at which rewards are read: InternLM2's own, else the end of text. */
export function rewardTokenOf(tokenizer: Tokenizer): number {
  return tokenizer.controlId("<|reward|>") ?? tokenizer.eosId;
}

/** A dialogue by the chat template and the token at which its reward is read, as InternLM2's reward models take it. */
export function encodeForReward(
  tokenizer: Tokenizer,
  rewardTokenId: number,
  messages: readonly Message[],
  tools: readonly ToolDefinition[] = [],
): Example {
  const ids = tokenizer.encodeChat(messages, tools.length > 0 ? { tools } : {});
  const tokens = Int32Array.of(...ids, rewardTokenId);
  return { tokens, targets: new Int32Array(tokens.length).fill(-1) };
}

/** A fresh value head [1, hidden] of zeros: every reward is 0 at first. */
export function createValueHead(kernels: Kernels, config: DecoderConfig): Tensor {
  return tensor(kernels.allocate(config.hiddenSize), [1, config.hiddenSize], valueHeadName(config));
}

/** Writes a reward model's config and weights, adapters merged. The tokenizer's files are not its business. */
export function writeRewardModel(
  directory: string,
  { kernels, decoder, pairs, tokenizer }: TunedModel,
  valueHead: Tensor,
  type: WeightType,
): void {
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  writeModelFiles(directory, kernels, decoder, {
    type,
    head: valueHead,
    config: rewardConfigFields(decoder.config, rewardTokenOf(tokenizer)),
    change(layer, numbers) {
      const pair = byName.get(layer.name);
      if (pair) mergeInto(kernels, pair, numbers);
    },
  });
}

/** Opens a reward model that `lianlu prefer --method reward` wrote. Throws Failure("input") for what is none. */
export function loadRewardModel(directory: string, kernels: Kernels): RewardModel {
  return { ...loadRewardCheckpoint(directory, kernels), kernels, tokenizer: tokenizerOf(directory) };
}

/** Rows of a pass while scoring. */
const scoringRows = 2048;

/** The reward of each dialogue, which ends with the answer that is judged; packed, so that many are scored at once. */
export function scoreAnswers(
  { kernels, decoder, valueHead, tokenizer, rewardTokenId }: RewardModel,
  dialogues: readonly (readonly Message[])[],
): number[] {
  const groups: Group[] = dialogues.map((messages) => [encodeForReward(tokenizer, rewardTokenId, messages)]);
  const rows = Math.max(scoringRows, ...groups.map(groupLength));
  const rewards: number[] = [];
  using tape = createTape(kernels, { recording: false });
  for (const batch of groupBatches(groups, { rows, seed: 1, padId: decoder.config.padTokenId })) {
    withoutTraining(tape, () => {
      const { data } = sequenceRewards(tape, decoder, valueHead, batch, false);
      for (const [index, group] of batch.groups.entries()) rewards[group] = data[index]!;
    });
  }
  return rewards;
}
