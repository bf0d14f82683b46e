// Configurations of other tools, read as data and written as one of ours, with what could not be carried over.
import { readFileSync, statSync } from "node:fs";
import { Failure } from "../../protocol/errors.ts";
import { checkConfiguration } from "../configuration.ts";
import type { ImportedConfig } from "./draft.ts";
import { readLlamaFactory } from "./llama-factory.ts";
import { writeConfiguration } from "./write.ts";
import { readXtuner } from "./xtuner.ts";

export type { Draft, ImportedConfig, ImportNote } from "./draft.ts";

const maxBytes = 1 << 20;

/**
 * Reads XTuner's Python or LLaMA-Factory's YAML, by the file's ending, and gives the text of a configuration file.
 * Nothing of what is read is executed.
 * @throws Failure "usage" for another file, "input" where it is damaged or trains what is not trained here.
 */
export function importConfig(path: string): ImportedConfig & { text: string } {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile()) throw new Failure("usage", `${path}: there is no such file.`, "Give a config of another tool.");
  if (stats.size > maxBytes)
    throw new Failure("input", `${path} takes ${stats.size} bytes; at most ${maxBytes} are read.`);
  const imported = readAny(readFileSync(path, "utf8"), path);
  checkConfiguration(imported.draft, path);
  return { ...imported, text: writeConfiguration(imported, path) };
}

function readAny(source: string, path: string): ImportedConfig {
  if (path.endsWith(".py")) return readXtuner(source, path);
  if (/\.ya?ml$|\.json$/.test(path)) return readLlamaFactory(source, path);
  throw new Failure(
    "usage",
    `${path} is neither XTuner's Python (.py) nor LLaMA-Factory's YAML.`,
    "Check the file's ending.",
  );
}
