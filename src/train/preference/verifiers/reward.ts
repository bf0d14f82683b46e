// The reward of a reward model, as `lianlu prefer --method reward` writes them: reward:DIR.
import { loadKernels } from "../../../kernels/index.ts";
import { Failure } from "../../../protocol/errors.ts";
import { loadRewardModel, scoreAnswers, type RewardModel } from "../reward-model.ts";
import { defineVerifier } from "../verifier.ts";

const models = new Map<string, RewardModel>();

/** Opened once and kept. */
function modelOf(directory: string | undefined): RewardModel {
  if (directory === undefined || directory === "") {
    throw new Failure(
      "usage",
      "The verifier reward needs the directory of a reward model.",
      "For example reward:judge",
    );
  }
  const model = models.get(directory) ?? loadRewardModel(directory, loadKernels());
  models.set(directory, model);
  return model;
}

export default defineVerifier({
  summary: "what a reward model says: reward:DIR",
  check: (argument) => void modelOf(argument),
  verify({ prompt, answer, argument }) {
    const [score] = scoreAnswers(modelOf(argument), [[...prompt, { role: "assistant", content: answer }]]);
    return score!;
  },
});
