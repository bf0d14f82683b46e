// What a source is: one file in sources/ that default-exports defineSource({...}); the filename is its name, for an npm
// package the package's name with "/" as "-" and without "@". sources/files.ts reads everything that has no file.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SourceItem } from "./document.ts";

/** The files of a source that were asked for and are there. */
export interface SourceFolder {
  /** The data files by relative path with forward slashes, in the order in which they are read. */
  files: readonly string[];
  /** Absolute path of any file of the folder; it may be absent. */
  path(file: string): string;
}

export interface Source {
  summary: string;
  /** The version of the package that is taken where none is asked for. */
  version?: string;
  /** Whether a file holds documents. */
  isData(file: string): boolean;
  /** The data file that another file belongs to, which is then fetched with it. */
  belongsTo?(file: string): string | undefined;
  /** Reads the documents, and reports what is none. */
  read(folder: SourceFolder): AsyncGenerator<SourceItem, void, void>;
}

/** Identity: checks the type. */
export function defineSource(source: Source): Source {
  return source;
}

const FALLBACK = "files";

/** The source for an npm package, or the general reader of files. */
export async function loadSource(packageName: string | undefined): Promise<Source> {
  const own = packageName?.replace(/^@/, "").replace("/", "-");
  const known = own !== undefined && existsSync(join(import.meta.dirname, "sources", `${own}.ts`));
  const module = (await import(`./sources/${known ? own : FALLBACK}.ts`)) as { default: Source };
  return module.default;
}
