// Continuous batching: each step runs the next rows of every sequence that decodes, together with pieces of prompts.
// A sequence that finds no page gives way to those before it in line and is computed again later, with the same result to
// the bit. plan() says which rows run; memory.ts who holds which page.
import { setImmediate as nextTurn } from "node:timers/promises";
import { pageTokens } from "../kernels/kernels.ts";
import type { Floats } from "../kernels/kernels.ts";
import { Failure, type EngineStatistics } from "../protocol/index.ts";
import { createBatchBuilder } from "./batch.ts";
import { pagesFor } from "./cache.ts";
import { createMemory } from "./memory.ts";
import { createPacing } from "./pacing.ts";
import type { Runner } from "./runner.ts";
import { line, missing, order, type Sequence } from "./sequence.ts";
import { adaptDrafts, firstDraftLength, maxDraftLength, noDrafts, type Speculator } from "./speculation.ts";
import type { Task } from "./task.ts";

export type SchedulerStatistics = Omit<EngineStatistics, "weightBytes" | "cacheBytes">;

export interface Scheduler {
  /** A task's longest sequence must fit the pages of the runner. */
  add(task: Task): void;
  /** Frees what a task holds; nothing more is reported to it. Does nothing for a task that has ended. */
  cancel(task: Task): void;
  statistics(): SchedulerStatistics;
}

export interface SchedulerOptions {
  /** Sequences that run at once. Default 64. */
  maxSequences?: number;
  /** Most rows of a step. Default 256. */
  stepRows?: number;
  /** Whether keys and values are kept and shared between sequences that begin alike. Default true. */
  prefixCache?: boolean;
  /** Where guesses of the next ids come from. Default: none are made. */
  speculator?: Speculator;
}

/** A sequence waits for another that is computing a prefix of it, where that saves at least so many ids. */
const worthWaiting = pageTokens;
/** Rows of a step that are spent on guesses. */
const maxDraftRows = 32;

export function createScheduler(runner: Runner, options: SchedulerOptions = {}): Scheduler {
  const { maxSequences = 64, stepRows = 256, prefixCache = true, speculator } = options;
  for (const [name, value] of Object.entries({ maxSequences, stepRows })) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new Failure("usage", `${name} is ${value}; it is a count from 1 on.`, "Leave it out.");
    }
  }
  const memory = createMemory({
    pages: runner.pages,
    prefixCache,
    copyPage(from, to) {
      runner.copyPage(from, to);
      speculator?.copyPage(from, to);
    },
  });
  const pacing = createPacing(stepRows);
  const builder = createBatchBuilder(stepRows);
  /** Both in line. */
  const waiting: Sequence[] = [];
  const running: Sequence[] = [];
  /** Of the step under way: sequences that run their last id, and those with a piece of a prompt. */
  const deciding: Sequence[] = [];
  const reading: Sequence[] = [];
  let arrivals = 0;
  let looping = false;
  const counters = {
    promptTokens: 0,
    cachedTokens: 0,
    generatedTokens: 0,
    preemptions: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
  };

  function add(task: Task): void {
    const rope = runner.planRope?.(task.maxLength);
    counters.promptTokens += task.ids.length;
    line(waiting, {
      task,
      number: arrivals++,
      rope,
      space: `${task.adapter?.number ?? 0} ${rope?.key ?? ""}`,
      shares: task.rows === "last",
      computed: 0,
      drafted: speculator?.follows ? 0 : Infinity,
      pages: [],
      nodes: [],
      rows: 0,
      drafts: noDrafts,
      draftLength: firstDraftLength,
      draftLimit: 0,
      listening: false,
      waitsFor: undefined,
      started: false,
    });
    if (!looping) {
      looping = true;
      void loop();
    }
  }

  function cancel(task: Task): void {
    const queued = waiting.findIndex((sequence) => sequence.task === task);
    if (queued >= 0) waiting.splice(queued, 1);
    const found = running.find((sequence) => sequence.task === task);
    if (found) remove(found);
  }

  function remove(sequence: Sequence): void {
    running.splice(running.indexOf(sequence), 1);
    memory.release(sequence);
  }

  /** Turns a sequence out; it is computed again when there is room. */
  function preempt(sequence: Sequence): void {
    remove(sequence);
    sequence.computed = 0;
    if (speculator?.follows) sequence.drafted = 0;
    sequence.rows = 0;
    counters.preemptions += 1;
    line(waiting, sequence);
  }

  /** Between steps other work of this thread gets its turn: new requests, cancellations. */
  async function loop(): Promise<void> {
    for (;;) {
      await nextTurn();
      if (waiting.length + running.length === 0) break;
      try {
        step();
      } catch (error) {
        // A defect: without an end to them the requests would wait for ever.
        while (running.length > 0) fail(running[0]!, error);
        for (const { task } of waiting.splice(0)) task.onFailure(error);
      }
    }
    looping = false;
  }

  function admit(): void {
    const most = Math.min(maxSequences, stepRows);
    for (let index = 0; index < waiting.length;) {
      const next = waiting[index]!;
      const last = running.at(-1);
      if (running.length < most && isWaiting(next)) {
        index += 1;
        continue;
      }
      // One page to spare, so that it is not turned out at once; the only sequence always fits.
      const wanted = last ? pagesFor(next.task.ids.length) + 1 : 0;
      if (running.length >= most || !memory.begin(next, running, wanted)) {
        if (!last || last.task.priority >= next.task.priority) return;
        preempt(last);
        continue;
      }
      waiting.splice(index, 1);
      line(running, next);
      if (!next.started) {
        next.started = true;
        counters.cachedTokens += next.computed;
        next.task.onStart?.(next.computed);
      }
    }
  }

  /** Whether a running sequence is about to compute a beginning of this one. */
  function isWaiting(next: Sequence): boolean {
    if (!prefixCache || !next.shares) return false;
    const { waitsFor } = next;
    if (waitsFor) {
      if (waitsFor.sequence.computed < waitsFor.computed && running.includes(waitsFor.sequence)) return true;
      next.waitsFor = undefined;
    }
    const { ids } = next.task;
    for (const other of running) {
      const { task, computed, space, shares } = other;
      if (!shares || space !== next.space || task.priority < next.task.priority) continue;
      let common = 0;
      const limit = Math.min(ids.length - 1, task.ids.length);
      while (common < limit && ids[common] === task.ids[common]) common++;
      if (common < computed + worthWaiting) continue;
      next.waitsFor = { sequence: other, computed: common };
      return true;
    }
    return false;
  }

  /** Whether the sequence holds pages for its first `tokens` ids, taken from the last in line where none are left. */
  function reserve(sequence: Sequence, tokens: number): boolean {
    while (!memory.reserve(sequence, tokens)) {
      const last = running.at(-1)!;
      preempt(last);
      if (last === sequence) return false;
    }
    return true;
  }

  /** Sets the rows of each sequence: first those that decode, so that no long prompt holds up the others. */
  function plan(): void {
    deciding.length = 0;
    reading.length = 0;
    let decodeRows = 0;
    for (const sequence of running) {
      sequence.rows = 0;
      sequence.drafts = noDrafts;
    }
    // A sequence later in line may be turned out for an earlier one, never the other way round.
    for (let index = 0; index < running.length; index++) {
      const sequence = running[index]!;
      if (missing(sequence) !== 1 || !reserve(sequence, sequence.computed + 1)) continue;
      sequence.rows = 1;
      decodeRows += 1;
    }
    const prompts = running.length - decodeRows + waiting.length;
    let left = Math.min(stepRows - decodeRows, pacing.promptRows(decodeRows, prompts));
    for (let index = 0; index < running.length && left > 0; index++) {
      const sequence = running[index]!;
      const rows = Math.min(missing(sequence), left);
      if (sequence.rows > 0 || !reserve(sequence, sequence.computed + rows)) continue;
      sequence.rows = rows;
      left -= rows;
    }
    for (const sequence of running) {
      if (sequence.rows > 0) (missing(sequence) === 1 ? deciding : reading).push(sequence);
    }
    if (speculator || deciding.some(({ task }) => task.drafts)) propose();
  }

  function propose(): void {
    const each = Math.min(maxDraftLength, Math.floor(maxDraftRows / Math.max(1, deciding.length)));
    for (const sequence of deciding) {
      const { task } = sequence;
      sequence.draftLimit = 0;
      if (task.rows === "every" || task.output === "hidden") continue;
      const limit = Math.min(each, task.maxLength - task.ids.length - 1);
      if (limit <= 0) continue;
      let likely;
      try {
        likely = task.drafts?.(limit) ?? noDrafts;
      } catch (error) {
        sequence.rows = 0;
        fail(sequence, error);
        continue;
      }
      if (likely.length > 0) sequence.drafts = likely.slice(0, roomFor(sequence, likely.length));
      else if (speculator) sequence.draftLimit = roomFor(sequence, Math.min(limit, sequence.draftLength));
    }
    for (let index = deciding.length - 1; index >= 0; index--) {
      if (deciding[index]!.rows === 0) deciding.splice(index, 1);
    }
    try {
      speculator?.propose(deciding, reading);
    } catch {
      // Nobody is worse off without guesses; what is not in whole pages the speculator reads again.
      for (const sequence of [...deciding, ...reading]) {
        sequence.drafts = noDrafts;
        if (speculator?.follows) sequence.drafted = Math.min(sequence.drafted, sequence.nodes.length * pageTokens);
      }
    }
  }

  /** How many ids more the sequence has pages for, without turning out another; at most `count`. */
  function roomFor(sequence: Sequence, count: number): number {
    let room = count;
    while (room > 0 && !memory.reserve(sequence, sequence.task.ids.length + room)) room -= 1;
    return room;
  }

  function build(sequence: Sequence): void {
    const { task, computed, rows, drafts } = sequence;
    const { ids } = task;
    const end = computed + rows;
    builder.sequence(sequence);
    for (let position = computed; position < end; position++) {
      const wanted = task.rows === "every" || position === ids.length - 1;
      builder.row(ids[position]!, position, wanted ? task.output : undefined);
    }
    for (let index = 0; index < drafts.length; index++) builder.row(drafts[index]!, end + index, task.output);
    sequence.listening = true;
  }

  function onOutput(sequence: Sequence, position: number, values: Floats): void {
    if (!sequence.listening) return;
    const { task, drafts } = sequence;
    let answer;
    try {
      answer = task.onOutput(position, values);
    } catch (error) {
      sequence.listening = false;
      fail(sequence, error);
      return;
    }
    if (answer === "more") return;
    if (task.output === "logits" && task.rows === "last") counters.generatedTokens += 1;
    if (answer === "done") {
      sequence.listening = false;
      // The rows up to this one are computed, and may be of use to others.
      finish(sequence, position + 1);
      remove(sequence);
      return;
    }
    const ahead = position - (sequence.computed + sequence.rows - 1);
    task.ids.push(answer);
    sequence.listening = drafts[ahead] === answer;
    if (sequence.listening) counters.acceptedTokens += 1;
  }

  function fail(sequence: Sequence, error: unknown): void {
    remove(sequence);
    sequence.task.onFailure(error);
  }

  /** Ids before `computed` are in the cache now. */
  function finish(sequence: Sequence, computed: number): void {
    sequence.computed = computed;
    if (speculator?.follows) sequence.drafted = Math.min(sequence.drafted, computed);
  }

  function step(): void {
    admit();
    const began = threadMilliseconds();
    plan();
    if (deciding.length + reading.length === 0) return;
    const sequences = order([...deciding, ...reading]);
    let decodeRows = 0;
    for (const sequence of sequences) {
      build(sequence);
      counters.draftedTokens += sequence.drafts.length;
      if (sequence.rows === 1) decodeRows += 1 + sequence.drafts.length;
    }
    const batch = builder.finish();
    try {
      runner.run(batch, (row, values) => onOutput(builder.sequenceOf(row), batch.positions[row]!, values));
    } catch (error) {
      for (const sequence of sequences) if (running.includes(sequence)) fail(sequence, error);
      return;
    }
    pacing.observe(decodeRows, batch.ids.length - decodeRows, threadMilliseconds() - began);
    for (const sequence of sequences) {
      if (sequence.pages.length === 0) continue;
      const { task, drafts } = sequence;
      const reached = sequence.computed + sequence.rows;
      // Each row that counted has brought an id; the last one's is not computed yet.
      const accepted = Math.min(drafts.length, task.ids.length - 1 - reached);
      if (drafts.length > 0) adaptDrafts(sequence, accepted);
      finish(sequence, reached + accepted);
      memory.publish(sequence);
    }
  }

  const statistics = (): SchedulerStatistics => ({
    running: running.length,
    waiting: waiting.length,
    pagesFree: memory.free,
    pagesCached: memory.cached,
    pagesTotal: memory.total,
    ...counters,
  });
  return { add, cancel, statistics };
}

/** What this thread has computed for: unlike a clock, it does not count what other processes take. */
function threadMilliseconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

/** Tokens that a runner's cache holds. */
export function cacheTokens(runner: Runner): number {
  return runner.pages * pageTokens;
}
