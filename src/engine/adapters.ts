// LoRA adapters that requests name: loaded and dropped while others run, and mixed in one batch. Rows with an adapter
// are equal to the bit to those of the model with that adapter alone, rows without to those of the plain model.
import type { Kernels } from "../kernels/kernels.ts";
import { readAdapter, replaceAdaptable, type Decoder, type Linear, type LoraPair } from "../model/index.ts";
import { Failure } from "../protocol/index.ts";
import { linear, scale, tensor, type Tape, type Tensor } from "../tensor/index.ts";

/** An adapter in memory. One that is loaded again under its old name is another. */
export interface Adapter {
  readonly name: string;
  /** Of all that were loaded, which: tells its keys and values from others'. */
  readonly number: number;
  readonly pairs: ReadonlyMap<string, LoraPair>;
}

/** Rows start..end - 1 of a batch go through an adapter. */
export interface AdapterRun {
  start: number;
  end: number;
  adapter: Adapter;
}

export interface AdapterRegistry {
  /** The adapter of a name, which stays until it is disposed of. Throws Failure("input") where there is none. */
  borrow(name: string): Disposable & { adapter: Adapter };
  /** Reads a PEFT directory. Throws Failure("input") where the name is taken or the adapter does not fit the model. */
  load(name: string, directory: string): void;
  /** The name is free at once; settles when the requests under way with it have ended. */
  unload(name: string): Promise<void>;
  names(): string[];
  /** Sets which rows of the coming batch go through which adapter. */
  route(runs: readonly AdapterRun[]): void;
}

/** What `cause.code` of a failure says when a request names an adapter that is not loaded. */
export const adapterNotFound = "adapter_not_found";

interface Loaded {
  adapter: Adapter;
  users: number;
  /** Told when the last user has gone. */
  onIdle: (() => void) | undefined;
}

/** Makes the layers of a decoder go through adapters, in place. */
export function createAdapterRegistry(kernels: Kernels, decoder: Decoder): AdapterRegistry {
  const loaded = new Map<string, Loaded>();
  let runs: readonly AdapterRun[] = [];
  let loads = 0;
  replaceAdaptable(decoder, (layer) => routedLinear(layer, () => runs));

  function find(name: string): Loaded {
    const found = loaded.get(name);
    if (found) return found;
    const names = [...loaded.keys()];
    throw new Failure(
      "input",
      `There is no adapter "${name}"; ${names.length === 0 ? "none is loaded" : `loaded are ${names.join(", ")}`}.`,
      "Load it first, or leave it out.",
      { cause: { code: adapterNotFound } },
    );
  }

  return {
    borrow(name) {
      const entry = find(name);
      entry.users += 1;
      let held = true;
      return {
        adapter: entry.adapter,
        [Symbol.dispose]() {
          if (!held) return;
          held = false;
          entry.users -= 1;
          if (entry.users === 0) entry.onIdle?.();
        },
      };
    },
    load(name, directory) {
      if (loaded.has(name)) {
        throw new Failure("input", `There is an adapter "${name}" already.`, "Unload it first, or take another name.");
      }
      const pairs = readAdapter(kernels, decoder, directory);
      if (pairs.some(({ magnitude }) => magnitude)) {
        throw new Failure(
          "input",
          `${directory} is a DoRA adapter, which changes whole weights and cannot be mixed with others in a batch.`,
          "Serve the checkpoint with the adapter merged into it.",
        );
      }
      const adapter = { name, number: ++loads, pairs: new Map(pairs.map((pair) => [pair.name, pair])) };
      loaded.set(name, { adapter, users: 0, onIdle: undefined });
    },
    async unload(name) {
      const entry = find(name);
      loaded.delete(name);
      if (entry.users === 0) return;
      await new Promise<void>((resolve) => {
        entry.onIdle = resolve;
      });
    },
    names: () => [...loaded.keys()],
    route(next) {
      runs = next;
    },
  };
}

/** base(x), and for the rows of each run factor * (x A^T) B^T on top, summed as a layer with that adapter alone does. */
function routedLinear(base: Linear, runs: () => readonly AdapterRun[]): Linear {
  const { name, inputs, outputs } = base;
  return {
    ...base,
    apply(tape, x, residual) {
      const y = base.apply(tape, x, residual);
      const { rows } = tape.pass;
      for (const run of runs()) {
        const { adapter } = run;
        const [start, end] = rows ? [placeOf(rows, run.start), placeOf(rows, run.end)] : [run.start, run.end];
        if (start === end) continue;
        const pair = adapter.pairs.get(name);
        if (pair) change(tape, rowsOfTensor(x, start, end, inputs), rowsOfTensor(y, start, end, outputs), pair);
      }
      return y;
    },
  };
}

/** How many of these ascending rows come before a row of the batch. */
function placeOf(rows: Int32Array, row: number): number {
  const place = rows.findIndex((each) => each >= row);
  return place < 0 ? rows.length : place;
}

function change(tape: Tape, x: Tensor, y: Tensor, { a, b, factor }: LoraPair): void {
  const down = linear(tape, x, a);
  const scaled = scale(tape, down, factor);
  const changed = linear(tape, scaled, b, y);
  y.data.set(changed.data);
  tape.give(down, scaled, changed);
}

function rowsOfTensor(x: Tensor, start: number, end: number, columns: number): Tensor {
  return tensor(x.data.subarray(start * columns, end * columns), [end - start, columns], x.name);
}
