// Reward models: a decoder whose output layer is a single row, which turns the hidden state of the last token into a reward.
// InternLM2 calls it v_head (InternLM2ForRewardModel), the others score (LlamaForSequenceClassification and its like).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpointTensors, readFloats } from "../formats/safetensors.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { tensor, type Tensor } from "../tensor/index.ts";
import { readConfig } from "./checkpoint.ts";
import type { DecoderConfig } from "./config.ts";
import type { Decoder } from "./decoder.ts";
import { familyOf } from "./family.ts";
import { aligned, checkShape, loadSafetensors } from "./safetensors-weights.ts";

/** The modelling code that transformers fetches for InternLM2's reward models. */
const remote = "internlm/internlm2-1_8b-reward";

export interface RewardCheckpoint {
  decoder: Decoder;
  /** [1, hidden] */
  valueHead: Tensor;
  /** The token at which the reward is read, after the dialogue. */
  rewardTokenId: number;
}

/** The checkpoint's name of the value head. */
export function valueHeadName({ family }: DecoderConfig): string {
  return family === "internlm2" ? "v_head.weight" : "score.weight";
}

/** What is laid over the fields of config.json. */
export function rewardConfigFields(config: DecoderConfig, rewardTokenId: number): Record<string, unknown> {
  const shared = { reward_token_id: rewardTokenId, tie_word_embeddings: false };
  if (config.family === "internlm2") {
    return {
      ...shared,
      architectures: ["InternLM2ForRewardModel"],
      auto_map: {
        AutoConfig: `${remote}--configuration_internlm2.InternLM2Config`,
        AutoModel: `${remote}--modeling_internlm2.InternLM2ForRewardModel`,
      },
    };
  }
  const [architecture] = familyOf(config.family).architectures;
  return {
    ...shared,
    architectures: [architecture!.replace(/ForCausalLM$/, "ForSequenceClassification")],
    // transformers reads the reward at the last token that is no padding.
    ...(config.padTokenId === rewardTokenId && { pad_token_id: null }),
    id2label: { 0: "reward" },
    label2id: { reward: 0 },
  };
}

/** Loads a reward model; its weights stay as they are stored. Throws Failure("input") for what is none. */
export function loadRewardCheckpoint(directory: string, kernels: Kernels): RewardCheckpoint {
  const config = readConfig(directory);
  const json = JSON.parse(readFileSync(join(directory, "config.json"), "utf8")) as { reward_token_id?: unknown };
  const name = valueHeadName(config);
  const source = openCheckpointTensors(directory);
  try {
    const found = source.tensors.get(name);
    if (!found || !Number.isSafeInteger(json.reward_token_id)) {
      throw new Failure(
        "input",
        `${directory}: ${found ? "config.json has no reward_token_id" : `there is no tensor ${name}`}, so this is no reward model.`,
        "Give what `lianlu prefer --method reward` wrote.",
      );
    }
    const shape = [1, config.hiddenSize];
    checkShape(source.path, name, found.shape, shape);
    // Tied, so that no output layer is looked for.
    const headless = { ...config, tieEmbeddings: true };
    return {
      decoder: loadSafetensors(directory, headless, kernels, { inference: false, frozen: "stored", others: [name] }),
      valueHead: tensor(aligned(kernels, readFloats(source, name)), shape, name),
      rewardTokenId: json.reward_token_id as number,
    };
  } finally {
    source.close();
  }
}
