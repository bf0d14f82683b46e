// What the scheduler runs: ids, what is wanted of them, and who is told.
import type { Floats } from "../kernels/kernels.ts";
import type { Adapter } from "./adapters.ts";

export interface Task {
  /** The prompt, and then what `onOutput` returned. */
  readonly ids: number[];
  /** The most ids that the sequence will ever have. */
  readonly maxLength: number;
  /** Higher runs first. */
  readonly priority: number;
  readonly adapter: Adapter | undefined;
  /** Logits [vocab] or hidden states [hidden] are wanted, of every row or of the last one alone. */
  readonly output: "logits" | "hidden";
  readonly rows: "every" | "last";
  /** Told once, before the first row runs, how many ids of the prompt the cache held. */
  onStart?(cachedTokens: number): void;
  /** Up to `limit` ids that are likely to follow the last one because the answer's form asks for their text. */
  drafts?(limit: number): readonly number[];
  /**
   * Logits for what follows ids[position], or its hidden state: returns the next id to run, "more" where the rows given
   * are not all seen yet, or "done". Valid during the call alone. What it throws ends this task alone. Where every row is
   * wanted they may begin again at position 0, to the bit as before; else each position comes once.
   */
  onOutput(position: number, values: Floats): number | "more" | "done";
  /** The task ended by a failure. */
  onFailure(error: unknown): void;
}
