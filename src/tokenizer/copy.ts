// The tokenizer of a model, put beside another one's weights, so that what is written is whole.
import { copyFileSync, existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { openGguf } from "../formats/gguf.ts";
import { findTokenizerFile } from "./load.ts";
import { tokenizerPlace } from "./of-model.ts";
import { writeTokenizerOfGguf } from "./write-gguf-vocabulary.ts";

/** What a tokenizer may need in a checkpoint directory. */
const tokenizerFiles = ["tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json"];

/** Copies the tokenizer's files that are there from one directory to another. */
export function copyTokenizerFiles(from: string, to: string): void {
  for (const file of tokenizerFiles) {
    if (existsSync(join(from, file))) copyFileSync(join(from, file), join(to, file));
  }
}

/**
 * Writes a tokenizer's files into a directory that exists. `from` is a model (a directory, or a file with its tokenizer
 * within or beside it) or a tokenizer file. Throws Failure("input") where there is none.
 */
export function copyTokenizer(from: string, directory: string): void {
  const given = statSync(from).isFile() && !from.endsWith(".gguf") ? existingTokenizer(from) : undefined;
  const place = given ?? tokenizerPlace(from);
  const file = findTokenizerFile(place);
  if (file.endsWith(".gguf")) {
    const gguf = openGguf(file);
    try {
      writeTokenizerOfGguf(directory, file, gguf.metadata);
    } finally {
      gguf.close();
    }
    return;
  }
  if (statSync(place).isDirectory()) copyTokenizerFiles(place, directory);
  copyFileSync(file, join(directory, file.endsWith(".bin") ? "tokenizer.bin" : basename(file)));
}

/** A tokenizer file itself; a llama2.c model is a .bin too, and its tokenizer lies beside it. */
function existingTokenizer(file: string): string | undefined {
  return /\.(json|model)$/.test(file) || basename(file).startsWith("tok") ? file : undefined;
}
