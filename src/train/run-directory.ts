// OUT.training: where a run lives until its result is whole. It remembers the options, so that a run that is
// started again goes on, and one with other options is told apart. A run without a snapshot has nothing to lose.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { claimDirectory, environmentFailure } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import { alone, type Ranks } from "./ranks.ts";
import { hasSnapshot } from "./snapshot.ts";

export interface RunDirectory {
  readonly path: string;
  /** Steps of the whole run: as asked for, or as an earlier start of this run decided. */
  readonly steps: number | undefined;
  /** Of several ranks, what rank 0 decides holds for all. */
  decideSteps(steps: number): void;
  remove(): void;
}

/**
 * Opens or makes the run directory of `out`. `options` are all that shapes the result, the inputs' hashes among them. Of
 * several ranks the first does so; the others learn what it found.
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
    remove: () => directory?.remove(),
  };
}

function openOwn(out: string, options: Record<string, unknown>): RunDirectory {
  // Resolved, so that `base/` and `base` are the same place.
  const target = resolve(out);
  const path = `${target}.training`;
  const file = join(path, "run.json");
  let steps: number | undefined;
  const plain = JSON.parse(JSON.stringify(options)) as Record<string, unknown>;
  const write = (): void => {
    try {
      writeFileSync(file, `${JSON.stringify({ options: plain, steps }, null, 2)}\n`);
    } catch (error) {
      throw environmentFailure(error, path);
    }
  };
  try {
    claimDirectory(path, target);
    if (existsSync(file) && hasSnapshot(path)) {
      const held = JSON.parse(readFileSync(file, "utf8")) as { options: Record<string, unknown>; steps?: number };
      const changed = Object.keys({ ...held.options, ...plain }).filter(
        (key) => !isDeepStrictEqual(held.options[key], plain[key]),
      );
      if (changed.length > 0) {
        throw new Failure(
          "usage",
          `${path} holds an unfinished run with other options: ${changed.join(", ")}.`,
          "Run again with the options of that run to go on, choose another --out, or remove the directory.",
        );
      }
      steps = held.steps;
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
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
