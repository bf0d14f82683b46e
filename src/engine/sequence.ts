// A task on its way through the engine: how far it is computed, and the pages that it holds.
import type { Rope } from "../model/index.ts";
import type { PrefixNode } from "./prefix-tree.ts";
import type { Task } from "./task.ts";

export interface Sequence {
  readonly task: Task;
  /** Order of arrival. */
  readonly number: number;
  /** The rotation that its planned length asks for; undefined where it is the model's own. */
  readonly rope: Rope | undefined;
  /** What of the key-value cache it can share: adapter and rotation. */
  readonly space: string;
  /** Whether it reuses others' pages and leaves its own: not where every row is to be seen. */
  readonly shares: boolean;
  /** Ids whose keys and values are in the cache. */
  computed: number;
  /** Ids that the draft model, where there is one, has in its cache. */
  drafted: number;
  /** Pages in the order of positions; the first `nodes.length` are those of the nodes. */
  pages: number[];
  nodes: PrefixNode[];
  /** Rows of the step under way. */
  rows: number;
  /** Ids proposed to follow the last one; the step computes them too. */
  drafts: readonly number[];
  /** How many drafts are worth a try. */
  draftLength: number;
  /** How many the speculator may propose in this step. */
  draftLimit: number;
  /** Whether rows of the step under way still count: a draft was right so far, and the task has not ended. */
  listening: boolean;
  /** A running sequence that computes a prefix of this one, and the ids after which it is of use. */
  waitsFor: { sequence: Sequence; computed: number } | undefined;
  started: boolean;
}

/** Higher priority first, then order of arrival. */
function beforeInLine(left: Sequence, right: Sequence): number {
  return right.task.priority - left.task.priority || left.number - right.number;
}

/** Ids that are not computed yet. */
export function missing({ task, computed }: Sequence): number {
  return task.ids.length - computed;
}

/** Puts a sequence where it belongs in line. */
export function line(sequences: Sequence[], sequence: Sequence): void {
  let place = sequences.length;
  while (place > 0 && beforeInLine(sequence, sequences[place - 1]!) < 0) place--;
  sequences.splice(place, 0, sequence);
}

/** Sequences that share an adapter or a rotation next to each other, so that their rows run together. */
export function order(sequences: Sequence[]): Sequence[] {
  if (sequences.every(({ task, rope }) => !task.adapter && !rope)) return sequences;
  return sequences.sort((left, right) => (left.space < right.space ? -1 : left.space > right.space ? 1 : 0));
}
