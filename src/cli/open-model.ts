// The model that a command was given: a path or the name of a fetched model, opened in a thread of its own, or a server.
import { basename } from "node:path";
import { load } from "../engine/index.ts";
import { resolveWithAdapter } from "../hub/index.ts";
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

export interface OpenedModel {
  model: LanguageModel;
  /** Where it lies; undefined for a server's. */
  path: string | undefined;
  /** The adapter beside it: the one that was given, or the directory of the adapter that was named as the model. */
  adapter: string | undefined;
}

/**
 * Opens a model, or an adapter with the model that it belongs to. Throws Failure("usage") for an option that the one
 * or the other does not have.
 */
export async function openModel(
  target: string,
  { adapter, tokenizer, threads, model: name, onNote }: OpenModelOptions,
): Promise<OpenedModel> {
  const given = {
    ...(adapter !== undefined && { adapter }),
    ...(tokenizer !== undefined && { tokenizer }),
    ...(threads !== undefined && { threads }),
  };
  if (!/^https?:/.test(target)) {
    if (name !== undefined) throw new Failure("usage", "--model is for a server.", "Give the model itself.");
    const found = resolveWithAdapter(target);
    const { path } = found;
    const id = found.adapter !== undefined ? { id: basename(found.adapter) } : path === target ? {} : { id: target };
    const beside = adapter ?? found.adapter;
    const chosen = { ...given, ...(beside !== undefined && { adapter: beside }) };
    const model = await load(path, { worker: true, ...(onNote && { onNote }), ...chosen, ...id });
    return { model, path, adapter: beside };
  }
  const [option] = Object.keys(given);
  if (option !== undefined) {
    throw new Failure("usage", `--${option} is for a model on this machine.`, "Give it to `lianlu serve` instead.");
  }
  return {
    model: await connect({ baseUrl: target, ...(name !== undefined && { model: name }) }),
    path: undefined,
    adapter: undefined,
  };
}
