// The tokenizer that belongs to a model: within its .gguf file, or beside its weights.
import { statSync } from "node:fs";
import { dirname } from "node:path";
import { openGguf } from "../formats/gguf.ts";
import { loadTokenizer } from "./load.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Where a model's tokenizer lies: the directory itself, the .gguf file if it holds a vocabulary, else the file's directory. */
export function tokenizerPlace(model: string): string {
  if (statSync(model).isDirectory()) return model;
  return model.endsWith(".gguf") && hasVocabulary(model) ? model : dirname(model);
}

/** Loads it; throws as `loadTokenizer` does. */
export function tokenizerOf(model: string): Tokenizer {
  return loadTokenizer(tokenizerPlace(model));
}

function hasVocabulary(gguf: string): boolean {
  const file = openGguf(gguf);
  try {
    return file.metadata.has("tokenizer.ggml.tokens");
  } finally {
    file.close();
  }
}
