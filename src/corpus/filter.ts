// What a filter is: one file in filters/ that default-exports defineFilter({...}); the filename is its name, and a
// user's own file is given by its path. A filter says why a document goes; it changes nothing.
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure } from "../protocol/errors.ts";
import { importUserModule } from "../protocol/user-module.ts";
import type { Document } from "./document.ts";
import { countMatches } from "./script.ts";
import type { Script } from "./script.ts";

/** A document with what several filters need, each computed once and on demand. */
export interface FilterText {
  readonly document: Document;
  readonly script: Script;
  /** Without a poem's title and author. */
  readonly body: string;
  /** The body's lines that are not blank. */
  readonly lines: readonly string[];
  /** The body split at white space. */
  readonly words: readonly string[];
  /** Letters and digits in the body. */
  readonly letters: number;
}

export interface Filter {
  summary: string;
  /** The scripts for which `--rules auto` takes it. */
  scripts: readonly Script[];
  /** Written into the manifest. */
  thresholds: Readonly<Record<string, number>>;
  /** Why the document goes, with the figure that decided; undefined where it stays. */
  check(text: FilterText): string | undefined;
}
export interface NamedFilter extends Filter {
  name: string;
}

/** Identity: checks the type. */
export function defineFilter(filter: Filter): Filter {
  return filter;
}

export const allScripts: readonly Script[] = ["han", "latin", "other"];

export function filterText(document: Document, body: string, script: Script): FilterText {
  let lines: string[] | undefined;
  let words: string[] | undefined;
  let letters: number | undefined;
  return {
    document,
    body,
    script,
    get lines() {
      return (lines ??= body.split("\n").filter((line) => line.trim() !== ""));
    },
    get words() {
      return (words ??= body.split(/\s+/).filter((word) => word !== ""));
    },
    get letters() {
      return (letters ??= countMatches(body, /[\p{L}\p{N}]/gu));
    },
  };
}

const FOLDER = join(import.meta.dirname, "filters");

export function filterNames(): string[] {
  const isFilter = (name: string): boolean => name.endsWith(".ts") && !name.endsWith(".test.ts");
  return readdirSync(FOLDER)
    .filter(isFilter)
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

/**
 * Loads filters by name, or by the path of a file of one's own.
 * @throws Failure "usage" for a name that is none, or a file that holds no filter.
 */
export async function loadFilters(names: readonly string[]): Promise<NamedFilter[]> {
  const known = filterNames();
  return Promise.all(
    names.map(async (name) => {
      const isPath = /[/\\]|\.[mc]?[jt]s$/.test(name);
      if (!isPath && !known.includes(name)) {
        const hint = `Expected auto, none, the path of a file, or some of: ${known.join(", ")}.`;
        throw new Failure("usage", `there is no rule "${name}"`, hint);
      }
      const path = isPath ? resolve(name) : join(FOLDER, `${name}.ts`);
      if (!existsSync(path)) throw new Failure("usage", `the rule file ${path} is not there`, "Check the path.");
      const module = (await importUserModule(path)) as { default?: Partial<Filter> };
      const filter = module.default;
      if (typeof filter?.check !== "function" || !Array.isArray(filter.scripts)) {
        const hint = 'A rule file says: export default defineFilter({ summary, scripts: ["han"], thresholds, check }).';
        throw new Failure("usage", `${path} has no filter as its default export`, hint);
      }
      return { ...(filter as Filter), name };
    }),
  );
}
