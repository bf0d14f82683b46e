// The door of learning from preferences.
export { grpo, heldOutPrompts, type GrpoBatch, type GrpoObjectiveOptions, type GrpoOptions } from "./grpo.ts";
export { dpoLosses, type DpoLoss, type DpoLossOptions } from "./losses/dpo.ts";
export { grpoAveragings, type GrpoLossOptions } from "./losses/grpo.ts";
export { type KtoLossOptions } from "./losses/kto.ts";
export { rewardLosses, type RewardLossOptions } from "./losses/reward.ts";
export { prefer, preferenceObjectives, type PreferenceObjective, type PreferOptions } from "./prefer.ts";
export { loadRewardModel, scoreAnswers, type RewardModel } from "./reward-model.ts";
export { rolloutStore, type Rollout, type RolloutStore } from "./rollouts.ts";
export {
  openModel,
  preferenceDefaults,
  preferenceRates,
  runPreference,
  withDefaults,
  type OpenRun,
  type PreferenceResult,
  type PreferenceRun,
} from "./run.ts";
export {
  defineVerifier,
  judgeAnswer,
  loadVerifier,
  verifierNames,
  type ChosenVerifier,
  type Verifier,
  type VerifierInput,
} from "./verifier.ts";
