// OUT.training: where a run lives until its result is whole. It remembers the options, so that a run that is
// started again goes on, and one with other options is told apart. A run without a snapshot has nothing to lose.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { claimDirectory, environmentFailure } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { alone, type Ranks } from "./ranks.ts";
import { hasSnapshot } from "./snapshot.ts";

export interface RunDirectory {
  readonly path: string;
  /** Steps of the whole run: as asked for, or as an earlier start of this run decided. */
  readonly steps: number | undefined;
  /** Of several ranks, what rank 0 decides holds for all. */
  decideSteps(steps: number): void;
  /** What to tell of options that differ from those of an earlier start of this run. */
  readonly notes: readonly string[];
  remove(): void;
  /** Removes it where it has no snapshot, and so nothing to lose. */
  abandon(): void;
}

/** Does work in a run's directory, which does not stay behind where the work is refused before there is a snapshot. */
export async function* inRunDirectory<Result>(run: RunDirectory, work: Job<Result>): Job<Result> {
  try {
    return yield* work;
  } catch (error) {
    if (error instanceof Failure && (error.kind === "usage" || error.kind === "input")) run.abandon();
    throw error;
  }
}

/**
 * What may differ when an unfinished run is gone on with: it changes neither which weights there are nor how the data are
 * walked through. A run that broke down may so go on at a lower learning rate, and one that is not done go on for longer.
 */
const changeable: ReadonlySet<string> = new Set([
  "schedule",
  "until",
  "validateEvery",
  "snapshotEvery",
  "onAnomaly",
  "keepBest",
  "earlyStopping",
  "checkpointing",
  "precision",
  "optimizer.weightDecay",
  "optimizer.clip",
  "optimizer.beta1",
  "optimizer.beta2",
  "optimizer.eps",
]);

/**
 * Opens or makes the run directory of `out`. `options` are all that shapes the result, the inputs' hashes among them. Of
 * several ranks the first does so; the others learn what it found.
 * @throws Failure "usage" where an unfinished run with other options is there, but for those that may change.
 */
export function openRunDirectory(out: string, options: Record<string, unknown>, ranks: Ranks = alone): RunDirectory {
  const directory = ranks.rank === 0 ? openOwn(out, options) : undefined;
  let steps = ranks.agree(directory?.steps ?? 0) || undefined;
  return {
    path: `${resolve(out)}.training`,
    get steps() {
      return steps;
    },
    decideSteps(value) {
      steps = ranks.agree(value);
      directory?.decideSteps(steps);
    },
    notes: directory?.notes ?? [],
    remove: () => directory?.remove(),
    abandon: () => directory?.abandon(),
  };
}

function openOwn(out: string, options: Record<string, unknown>): RunDirectory {
  // Resolved, so that `base/` and `base` are the same place.
  const target = resolve(out);
  const path = `${target}.training`;
  const file = join(path, "run.json");
  let steps: number | undefined;
  let changes: Change[][] = [];
  const notes: string[] = [];
  const plain = JSON.parse(JSON.stringify(options)) as Record<string, unknown>;
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  const write = (): void => {
    try {
      writeFileSync(file, `${JSON.stringify({ options: plain, steps, changes }, null, 2)}\n`);
    } catch (error) {
      throw environmentFailure(error, path);
    }
  };
  try {
    claimDirectory(path, target);
    if (existsSync(file) && hasSnapshot(path)) {
      const held = JSON.parse(readFileSync(file, "utf8")) as HeldRun;
      const changed = changesBetween(held.options, plain);
      const refused = changed.filter(({ option }) => !mayChange(option));
      if (refused.length > 0) {
        throw new Failure(
          "usage",
          `${path} holds an unfinished run with other options: ${refused.map(({ option }) => option).join(", ")}.`,
          "Run again with the options of that run to go on, choose another --out, or remove the directory.",
        );
      }
      steps = changed.some(({ option }) => option.split(".")[0] === "until") ? undefined : held.steps;
      changes = held.changes ?? [];
      if (changed.length > 0) {
        changes = [...changes, changed];
        notes.push(`Going on with other options than before: ${changed.map(describe).join(", ")}.`);
        write();
      }
    } else {
      write();
    }
  } catch (error) {
    throw environmentFailure(error, path);
  }
  return {
    path,
    get steps() {
      return steps;
    },
    decideSteps(value) {
      steps = value;
      write();
    },
    notes,
    remove,
    abandon() {
      if (!hasSnapshot(path)) remove();
    },
  };
}

/** run.json. */
interface HeldRun {
  options: Record<string, unknown>;
  steps?: number;
  /** What was different at each later start that changed something. */
  changes?: Change[][];
}

interface Change {
  /** "seed", or where an object differs in a field, "schedule.peak". */
  option: string;
  before?: unknown;
  after?: unknown;
}

function changesBetween(before: Record<string, unknown>, after: Record<string, unknown>): Change[] {
  return Object.keys({ ...before, ...after })
    .filter((key) => !isDeepStrictEqual(before[key], after[key]))
    .flatMap((key): Change[] => {
      const [old, now] = [before[key], after[key]];
      if (!isRecord(old) || !isRecord(now)) return [{ option: key, before: old, after: now }];
      return changesBetween(old, now).map((change) => ({ ...change, option: `${key}.${change.option}` }));
    });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** By its own name, or by that of an object that holds it. */
function mayChange(option: string): boolean {
  return changeable.has(option) || changeable.has(option.split(".")[0]!);
}

function describe({ option, before, after }: Change): string {
  return `${option} ${JSON.stringify(before) ?? "(not given)"} -> ${JSON.stringify(after) ?? "(not given)"}`;
}
