// Models by name: loaded at their first request, once for all who wait, and unloaded by least use where memory is short.
// What a model is and where it comes from is its source's; a failed load is told and may be tried again.
import { Failure, type LanguageModel, type ServedModel } from "../protocol/index.ts";
import { HttpError, retryAfter, toHttpError } from "./errors.ts";

/** A model to serve. What an interface beyond LanguageModel's lacks is answered with 501. */
export type Servable = LanguageModel & Partial<ServedModel>;

export interface ModelSource {
  /** The name that requests give. */
  id: string;
  /** About how much memory it takes, before it was ever loaded. Default 0. */
  bytes?: number;
  /** Loads it. `onLost` is told when the model has died and has to be loaded again. */
  load(onLost: (error: Error) => void): Promise<Servable>;
}

export interface ModelDescription {
  id: string;
  state: "unloaded" | "loading" | "ready" | "failed";
  contextLength: number | undefined;
  adapters: readonly string[];
}

export interface Lease {
  model: Servable;
  adapter: string | undefined;
  /** May be called again. */
  release(): void;
}

export interface Models {
  list(): ModelDescription[];
  /** The models that are loaded now. */
  loaded(): Servable[];
  /** A model, or an adapter of it as "model:adapter", kept until it is released. Throws HttpError 404 or 503. */
  acquire(name: string): Promise<Lease>;
  addAdapter(model: string, name: string, directory: string): Promise<void>;
  removeAdapter(model: string, name: string): Promise<void>;
  close(): Promise<void>;
}

interface Entry {
  source: ModelSource;
  model: Servable | undefined;
  loading: Promise<Servable> | undefined;
  failure: string | undefined;
  bytes: number;
  /** Whether `bytes` is what it took when it was loaded. */
  measured: boolean;
  leases: number;
  usedAt: number;
  /** Directories by name; they come back when the model does. */
  adapters: Map<string, string>;
}

const retryMilliseconds = 1000;

/** `memoryLimit` in bytes bounds what loaded models take together. Throws RangeError where two share a name. */
export function createModels(sources: readonly ModelSource[], memoryLimit = Infinity): Models {
  const entries = new Map<string, Entry>();
  for (const source of sources) {
    if (entries.has(source.id)) throw new RangeError(`Two models are named ${JSON.stringify(source.id)}.`);
    entries.set(source.id, {
      source,
      model: undefined,
      loading: undefined,
      failure: undefined,
      bytes: source.bytes ?? 0,
      measured: false,
      leases: 0,
      usedAt: 0,
      adapters: new Map(),
    });
  }
  // One at a time: each must see what the one before has taken of memory.
  let lastLoad: Promise<unknown> = Promise.resolve();
  let uses = 0;
  let closed = false;

  /** Unloads idle models until another of so many bytes fits, the longest unused first. */
  async function makeRoom(wanted: Entry): Promise<void> {
    // What is only reckoned from files may be too much; what was measured is not.
    if (wanted.measured && wanted.bytes > memoryLimit) {
      throw new Failure(
        "environment",
        `It takes ${mebibytes(wanted.bytes)}, and the limit for all models is ${mebibytes(memoryLimit)}.`,
        "Allow more with --memory-limit, or a shorter context with --max-context.",
      );
    }
    const held = (): number => [...entries.values()].reduce((sum, { model, bytes }) => sum + (model ? bytes : 0), 0);
    while (held() > 0 && held() + wanted.bytes > memoryLimit) {
      const idle = [...entries.values()].filter(({ model, leases }) => model && leases === 0);
      const oldest = idle.sort((a, b) => a.usedAt - b.usedAt)[0];
      if (!oldest) {
        throw new HttpError(503, "Memory is taken by models that are answering; try again when they are done.", {
          code: "memory_limit",
          headers: retryAfter(retryMilliseconds),
        });
      }
      const { model } = oldest;
      oldest.model = undefined;
      await model!.close();
    }
  }

  async function loadNow(entry: Entry): Promise<Servable> {
    await makeRoom(entry);
    if (closed) throw new HttpError(503, "The server is stopping.", { code: "draining" });
    let lost = false;
    const model = await entry.source.load(() => {
      lost = true;
      if (entry.model === model) entry.model = undefined;
    });
    try {
      for (const [name, directory] of entry.adapters) await need(model, "loadAdapter")(name, directory);
      if (model.statistics) {
        const { weightBytes, cacheBytes } = await model.statistics();
        entry.bytes = weightBytes + cacheBytes;
        entry.measured = true;
        await makeRoom(entry);
      }
    } catch (error) {
      await model.close();
      throw error;
    }
    if (!lost) entry.model = model;
    return model;
  }

  function load(entry: Entry): Promise<Servable> {
    if (entry.model) return Promise.resolve(entry.model);
    if (entry.loading) return entry.loading;
    const loading = lastLoad
      .then(() => loadNow(entry))
      .then(
        (model) => {
          entry.failure = undefined;
          return model;
        },
        (error: unknown) => {
          if (error instanceof HttpError) throw error;
          const known = toHttpError(error);
          // A defect's text is for whoever runs the server, and here that is nobody else.
          entry.failure = known.status === 500 && error instanceof Error ? error.message : known.message;
          throw new HttpError(503, `The model ${entry.source.id} could not be loaded: ${entry.failure}`, {
            code: "model_load_failed",
            cause: error,
          });
        },
      )
      .finally(() => {
        entry.loading = undefined;
      });
    entry.loading = loading;
    lastLoad = loading.catch(() => {});
    return loading;
  }

  function find(name: string): { entry: Entry; adapter: string | undefined } {
    const exact = entries.get(name);
    if (exact) return { entry: exact, adapter: undefined };
    const colon = name.lastIndexOf(":");
    const base = colon > 0 ? entries.get(name.slice(0, colon)) : undefined;
    if (!base) throw notServed(name);
    return { entry: base, adapter: name.slice(colon + 1) };
  }

  function notServed(name: string): HttpError {
    const known = [...entries.keys()].map((id) => JSON.stringify(id)).join(", ");
    return new HttpError(404, `The model ${JSON.stringify(name.slice(0, 200))} is not served here; ${known} is.`, {
      param: "model",
      code: "model_not_found",
    });
  }

  async function acquire(name: string): Promise<Lease> {
    const { entry, adapter } = find(name);
    // Held before it is loaded, so that nobody unloads it in between.
    entry.leases += 1;
    entry.usedAt = ++uses;
    let held = true;
    const release = (): void => {
      if (held) entry.leases -= 1;
      held = false;
    };
    try {
      const model = await load(entry);
      if (adapter !== undefined && !(await model.adapters?.())?.includes(adapter)) throw notServed(name);
      return { model, adapter, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async function addAdapter(id: string, name: string, directory: string): Promise<void> {
    const { entry, adapter } = find(id);
    if (adapter !== undefined) throw notServed(id);
    const { model, release } = await acquire(id);
    try {
      await need(model, "loadAdapter")(name, directory);
      entry.adapters.set(name, directory);
    } finally {
      release();
    }
  }

  async function removeAdapter(id: string, name: string): Promise<void> {
    const { entry, adapter } = find(id);
    if (adapter !== undefined || !entry.adapters.delete(name)) throw notServed(`${id}:${name}`);
    // A model that is not loaded comes back without it.
    await entry.loading?.catch(() => {});
    const { model } = entry;
    if (!model) return;
    entry.leases += 1;
    try {
      await need(model, "unloadAdapter")(name);
    } finally {
      entry.leases -= 1;
    }
  }

  async function close(): Promise<void> {
    closed = true;
    await lastLoad;
    for (const entry of entries.values()) {
      const { model } = entry;
      entry.model = undefined;
      await model?.close();
    }
  }

  return {
    list: () =>
      [...entries.values()].map(({ source, model, loading, failure, adapters }) => ({
        id: source.id,
        state: model ? "ready" : loading ? "loading" : failure === undefined ? "unloaded" : "failed",
        contextLength: model?.contextLength,
        adapters: [...adapters.keys()],
      })),
    loaded: () => [...entries.values()].flatMap(({ model }) => model ?? []),
    acquire,
    addAdapter,
    removeAdapter,
    close,
  };
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

type Extra = Exclude<keyof ServedModel, keyof LanguageModel>;

/** What a route needs of a model. Throws HttpError 501 where the model does not have it. */
export function need<Name extends Extra>(model: Servable, name: Name): ServedModel[Name] {
  const method = model[name] as ServedModel[Name] | undefined;
  if (method) return method;
  throw new HttpError(501, `The model ${model.id} offers no ${name}.`, { code: "not_supported" });
}
