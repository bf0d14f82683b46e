// Modules that users write: configurations, tasks, verifiers, rules of a corpus.
import { registerHooks } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** In a module of a user, wherever it lies, `lianlu/...` is the program that runs: it needs no installed package beside it. */
let registered = false;

/** Imports a .ts or .js file by its path. Throws what loading it throws. */
export async function importUserModule(path: string): Promise<{ default?: unknown }> {
  if (!registered) {
    registered = true;
    registerHooks({
      resolve: (specifier, context, next) =>
        next(specifier, specifier.startsWith("lianlu/") ? { ...context, parentURL: import.meta.url } : context),
    });
  }
  return (await import(pathToFileURL(resolve(path)).href)) as { default?: unknown };
}
