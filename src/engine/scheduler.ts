// Continuous batching: each step runs the next row of every sequence together with pieces of waiting prompts.
// A sequence that finds no page gives way to older ones and is computed again later, with the same result to the bit.
import { setImmediate as nextTurn } from "node:timers/promises";
import { pageTokens } from "../kernels/kernels.ts";
import type { Floats } from "../kernels/kernels.ts";
import { createPagePool, pagesFor } from "./cache.ts";
import type { EngineStatistics } from "../protocol/index.ts";
import type { Adapter, AdapterRun } from "./adapters.ts";
import type { Batch, Runner } from "./runner.ts";

/** One sequence: what it runs, and who is told of what it computes. */
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
  /**
   * Logits for what follows ids[position], or its hidden state: returns the next id to run, "more" where the rows given
   * are not all seen yet, or "done". Valid during the call alone. What it throws ends this task alone.
   */
  onOutput(position: number, values: Floats): number | "more" | "done";
  /** The task ended by a failure. */
  onFailure(error: unknown): void;
}

export type SchedulerStatistics = Omit<EngineStatistics, "weightBytes" | "cacheBytes">;

export interface Scheduler {
  /** A task's longest sequence must fit the pages of the runner. */
  add(task: Task): void;
  /** Frees what a task holds; nothing more is reported to it. Does nothing for a task that has ended. */
  cancel(task: Task): void;
  statistics(): SchedulerStatistics;
}

export interface SchedulerOptions {
  /** Sequences that run at once. Default 32. */
  maxSequences?: number;
  /** Rows of a step: what running sequences leave is for prompts. Default 256. */
  stepRows?: number;
}

interface Running {
  task: Task;
  /** Order of arrival. */
  number: number;
  /** Ids whose keys and values are in the cache. */
  computed: number;
  pages: number[];
}

export function createScheduler(
  runner: Runner,
  { maxSequences = 32, stepRows = 256 }: SchedulerOptions = {},
): Scheduler {
  const pool = createPagePool(runner.pages);
  /** Both in order of arrival. */
  let waiting: Running[] = [];
  let running: Running[] = [];
  let arrivals = 0;
  let looping = false;
  let promptTokens = 0;
  let generatedTokens = 0;
  let preemptions = 0;

  function add(task: Task): void {
    promptTokens += task.ids.length;
    waiting.push({ task, number: arrivals++, computed: 0, pages: [] });
    if (!looping) {
      looping = true;
      void loop();
    }
  }

  function cancel(task: Task): void {
    waiting = waiting.filter((sequence) => sequence.task !== task);
    const found = running.find((sequence) => sequence.task === task);
    if (found) remove(found);
  }

  function remove(sequence: Running): void {
    running = running.filter((other) => other !== sequence);
    pool.give(sequence.pages.splice(0));
  }

  /** Between steps other work of this thread gets its turn: new requests, cancellations. */
  async function loop(): Promise<void> {
    for (;;) {
      await nextTurn();
      if (waiting.length + running.length === 0) break;
      step();
    }
    looping = false;
  }

  function admit(): void {
    while (waiting.length > 0 && running.length < Math.min(maxSequences, stepRows)) {
      const next = waiting[0]!;
      // One page to spare, so that it is not turned out at once; the only sequence always fits.
      if (running.length > 0 && pool.free < pagesFor(next.task.ids.length) + 1) return;
      waiting.shift();
      running.push(next);
      running.sort((left, right) => left.number - right.number);
    }
  }

  /** Whether the sequence holds pages for its first `tokens` positions, taken from the youngest where none are free. */
  function reserve(sequence: Running, tokens: number): boolean {
    while (sequence.pages.length < pagesFor(tokens)) {
      const page = pool.take();
      if (page !== undefined) {
        sequence.pages.push(page);
        continue;
      }
      const youngest = running.at(-1)!;
      remove(youngest);
      preemptions += 1;
      youngest.computed = 0;
      waiting.unshift(youngest);
      waiting.sort((left, right) => left.number - right.number);
      if (youngest === sequence) return false;
    }
    return true;
  }

  /** Which rows run now: one of each sequence first, so that no long prompt holds up the others. */
  function plan(): Map<Running, number> {
    const rows = new Map<Running, number>();
    let left = stepRows;
    const grant = (sequence: Running, count: number): void => {
      // An earlier grant may have turned this sequence out.
      if (count === 0 || !running.includes(sequence) || !reserve(sequence, sequence.computed + count)) return;
      rows.set(sequence, count);
      left -= count;
    };
    const missing = (sequence: Running): number => sequence.task.ids.length - sequence.computed;
    for (const sequence of running.filter((each) => missing(each) === 1)) grant(sequence, 1);
    for (const sequence of running.filter((each) => missing(each) > 1))
      grant(sequence, Math.min(missing(sequence), left));
    // Reserving for a later one may turn out an earlier grant only if that is younger.
    for (const sequence of rows.keys()) if (!running.includes(sequence)) rows.delete(sequence);
    return rows;
  }

  function step(): void {
    admit();
    const planned = plan();
    const count = [...planned.values()].reduce((sum, rows) => sum + rows, 0);
    if (count === 0) return;
    const sequences = [...planned.keys()];
    const maxPages = Math.max(...sequences.map(({ pages }) => pages.length));
    const batch: Batch = {
      ids: new Int32Array(count),
      positions: new Int32Array(count),
      sequences: new Int32Array(count),
      pageTable: new Int32Array(sequences.length * maxPages),
      maxPages,
      wanted: new Int32Array(0),
      hidden: new Int32Array(0),
      adapterRuns: [],
    };
    const wanted: number[] = [];
    const hidden: number[] = [];
    const adapterRuns: AdapterRun[] = [];
    let row = 0;
    for (const [line, sequence] of sequences.entries()) {
      const { task, computed, pages } = sequence;
      batch.pageTable.set(pages, line * maxPages);
      const end = computed + planned.get(sequence)!;
      if (task.adapter) adapterRuns.push({ start: row, end: row + end - computed, adapter: task.adapter });
      for (let position = computed; position < end; position++, row++) {
        batch.ids[row] = task.ids[position]!;
        batch.positions[row] = position;
        batch.sequences[row] = line;
        if (task.rows === "every" || position === task.ids.length - 1)
          (task.output === "logits" ? wanted : hidden).push(row);
      }
    }
    batch.wanted = Int32Array.from(wanted);
    batch.hidden = Int32Array.from(hidden);
    batch.adapterRuns = adapterRuns;

    const answers = new Map<Running, number | "more" | "done">();
    const fail = (sequence: Running, error: unknown): void => {
      remove(sequence);
      sequence.task.onFailure(error);
    };
    try {
      runner.run(batch, (of, logits) => {
        const sequence = sequences[batch.sequences[of]!]!;
        if (answers.get(sequence) === "done" || !running.includes(sequence)) return;
        try {
          answers.set(sequence, sequence.task.onOutput(batch.positions[of]!, logits));
        } catch (error) {
          fail(sequence, error);
        }
      });
    } catch (error) {
      for (const sequence of sequences) if (running.includes(sequence)) fail(sequence, error);
      return;
    }
    for (const sequence of sequences) {
      sequence.computed += planned.get(sequence)!;
      const answer = answers.get(sequence);
      if (answer === undefined || !running.includes(sequence)) continue;
      if (typeof answer === "number") sequence.task.ids.push(answer);
      if (answer !== "more" && sequence.task.rows === "last") generatedTokens += 1;
      else if (answer === "done") remove(sequence);
    }
  }

  const statistics = (): SchedulerStatistics => ({
    running: running.length,
    waiting: waiting.length,
    pagesFree: pool.free,
    pagesCached: 0,
    pagesTotal: pool.total,
    promptTokens,
    cachedTokens: 0,
    generatedTokens,
    preemptions,
    draftedTokens: 0,
    acceptedTokens: 0,
  });
  return { add, cancel, statistics };
}

/** Tokens that a runner's cache holds. */
export function cacheTokens(runner: Runner): number {
  return runner.pages * pageTokens;
}
