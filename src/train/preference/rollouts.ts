// Answers that the model made and that were judged: what a step of GRPO learns from. They are kept in the run's directory,
// so that a run that goes on in the middle of a round learns from the same ones, and for people to read.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** One answer to a prompt. */
export interface Rollout {
  /** Number of the prompt in the data. */
  prompt: number;
  /** What the model drew, its stop token included where there is one. */
  ids: number[];
  text: string;
  /** Whether the model ended its turn, rather than the limit. */
  ended: boolean;
  reward: number;
  /** What each verifier gave. */
  rewards: Record<string, number>;
  advantage: number;
  /** Log-probabilities of `ids` by the weights that drew them, where more than one step learns from the answer. */
  old?: number[];
  /** By the model that training started from, where the divergence from it counts. */
  reference?: number[];
}

export interface RolloutStore {
  load(round: number, batch: number): Rollout[] | undefined;
  save(round: number, batch: number, rollouts: readonly Rollout[]): void;
}

/** Rollouts as files of a directory; what was kept under another key is not found. */
export function rolloutStore(directory: string, key: string): RolloutStore {
  const pathOf = (round: number, batch: number): string =>
    join(directory, `${String(round).padStart(6, "0")}-${batch}.json`);
  return {
    load(round, batch) {
      const path = pathOf(round, batch);
      if (!existsSync(path)) return undefined;
      const held = JSON.parse(readFileSync(path, "utf8")) as { key: string; rollouts: Rollout[] };
      return held.key === key ? held.rollouts : undefined;
    },
    save(round, batch, rollouts) {
      mkdirSync(directory, { recursive: true });
      const path = pathOf(round, batch);
      writeFileSync(`${path}.new`, JSON.stringify({ key, rollouts }));
      renameSync(`${path}.new`, path);
    },
  };
}
