// Which files a model of a path is in: one answer for whoever loads, plans, describes or converts it.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../protocol/errors.ts";

/** Whether a directory holds weights in safetensors, in one file or in shards. */
export function hasSafetensors(directory: string): boolean {
  return ["model.safetensors", "model.safetensors.index.json"].some((name) => existsSync(join(directory, name)));
}

/**
 * The GGUF file that a path means: itself, or model.gguf of a directory without safetensors; undefined where it means
 * none. Throws Failure("input") where there is no such path.
 */
export function ggufFileOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Failure("input", `${path}: no such file or directory.`, "Check the path.");
  if (stat.isFile()) return path.endsWith(".gguf") ? path : undefined;
  const inside = join(path, "model.gguf");
  return existsSync(inside) && !hasSafetensors(path) ? inside : undefined;
}
