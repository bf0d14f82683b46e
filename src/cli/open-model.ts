// The model that a command was given: a path or the name of a fetched model, opened in a thread of its own, or a server.
import { load } from "../engine/index.ts";
import { resolveModel } from "../hub/index.ts";
import { Failure, type LanguageModel } from "../protocol/index.ts";
import { connect } from "../serve/index.ts";

export interface OpenModelOptions {
  adapter?: string | undefined;
  tokenizer?: string | undefined;
  threads?: number | undefined;
  /** Which of a server's models. */
  model?: string | undefined;
  onNote?: (text: string) => void;
}

/**
 * Opens a model; `path` is where it lies, undefined for a server's. Throws Failure("usage") for an option that the one
 * or the other does not have.
 */
export async function openModel(
  target: string,
  { adapter, tokenizer, threads, model: name, onNote }: OpenModelOptions,
): Promise<{ model: LanguageModel; path: string | undefined }> {
  const given = {
    ...(adapter !== undefined && { adapter }),
    ...(tokenizer !== undefined && { tokenizer }),
    ...(threads !== undefined && { threads }),
  };
  if (!/^https?:/.test(target)) {
    if (name !== undefined) throw new Failure("usage", "--model is for a server.", "Give the model itself.");
    const path = resolveModel(target);
    const id = path === target ? {} : { id: target };
    return { model: await load(path, { worker: true, ...(onNote && { onNote }), ...given, ...id }), path };
  }
  const [option] = Object.keys(given);
  if (option !== undefined) {
    throw new Failure("usage", `--${option} is for a model on this machine.`, "Give it to `lianlu serve` instead.");
  }
  return { model: await connect({ baseUrl: target, ...(name !== undefined && { model: name }) }), path: undefined };
}
