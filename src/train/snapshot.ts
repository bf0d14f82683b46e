// The snapshots of a run: two that are written in turn, each whole or absent; one more where the run was asked to stop;
// and the weights of the best validation.
import { join } from "node:path";
import { z } from "zod";
import { openSafetensors, readFloats } from "../formats/safetensors.ts";
import type { StateEntry } from "./optimizers/optimizer.ts";
import type { SamplerState } from "./sampler.ts";
import { isWhole, readPointer } from "./snapshot-file.ts";
import { startDetector } from "./watch/anomalies.ts";
import { createSnapshotWriter, type NamedFloats } from "./snapshot-writer.ts";

const numbers = z.array(z.number());
const stateSchema = z.object({
  /** Steps done. */
  step: z.int().min(0),
  /** Batches drawn and tokens trained on, from the start of the run. */
  batches: z.int().min(0),
  tokens: z.int().min(0),
  sampler: z.record(z.string(), z.unknown()),
  detector: z.object({
    losses: numbers,
    gradientNorms: numbers,
    named: z.record(z.string(), z.number()),
  }),
  /** Anomalies so far, and steps left out in a row up to this one. */
  anomalies: z.int().min(0),
  skipped: z.int().min(0),
  /** Returns to the newest snapshot since it was made. */
  rollbacks: z.int().min(0),
  /** The lowest validation loss, where it was, and validations since. */
  best: z.object({ step: z.int(), loss: z.number() }).optional(),
  sinceBest: z.int().min(0),
});
/** All of a run that is not a tensor, as plain JSON. */
export type SnapshotState = z.infer<typeof stateSchema> & { sampler: SamplerState };

/** The state of a run that has not begun. */
export function startState(): SnapshotState {
  return {
    step: 0,
    batches: 0,
    tokens: 0,
    sampler: {},
    detector: startDetector(),
    anomalies: 0,
    skipped: 0,
    rollbacks: 0,
    sinceBest: 0,
  };
}

const fileSchema = z.object({ file: z.string().regex(/^[\w.-]+$/), sha256: z.string() });

/** Written in turn. */
const turns = ["a", "b"] as const;
/** Where the run was asked to stop: apart from the others, so that stopping never changes what a run returns to. */
const stopSlot = "stop";
const bestSlot = "best";

/** Where the snapshots of a run are kept. */
export function snapshotDirectory(runDirectory: string): string {
  return join(runDirectory, "snapshots");
}

/** Whether a run has got as far as a snapshot. */
export function hasSnapshot(runDirectory: string): boolean {
  const directory = snapshotDirectory(runDirectory);
  return [...turns, stopSlot].some((slot) => stateOf(directory, slot) !== undefined);
}

export interface Snapshots {
  readonly directory: string;
  /** The file of the newest snapshot that was begun. */
  readonly newestFile: string | undefined;
  /**
   * Starts to write the state of a step: over the older of the two that are written in turn, or apart where the run was
   * asked to stop. The numbers may change when it resolves. Throws what an earlier one failed with. Every rank calls it:
   * what is dealt out among them is collected.
   */
  save(state: SnapshotState, why: "turn" | "stop"): Promise<void>;
  /** Starts to write the weights as the best so far. */
  saveBest(best: { step: number; loss: number }, parameters: readonly NamedFloats[]): Promise<void>;
  /** Loads the newest snapshot that is whole into the tensors; `turns` leaves out that of a stop. */
  load(which: "all" | "turns"): Promise<SnapshotState | undefined>;
  /** The steps of newer snapshots that `load` found damaged. */
  readonly damaged: readonly number[];
  /** Loads the weights of the best validation; undefined where there are none. */
  loadBest(parameters: readonly NamedFloats[]): Promise<{ step: number; loss: number } | undefined>;
  /** Waits until everything is on the disk. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * `tensors` are what a snapshot holds: parameters, moments and averages. Every rank of a run reads snapshots, and the one
 * that `writes` writes them.
 */
export function openSnapshots(runDirectory: string, tensors: readonly StateEntry[], writes = true): Snapshots {
  const directory = snapshotDirectory(runDirectory);
  const writer = createSnapshotWriter();
  const pointerOf = (slot: string): string => join(directory, `${slot}.json`);
  let newestFile: string | undefined;
  let damaged: number[] = [];

  /** Into `into` where the file is whole. */
  async function read(slot: string, into: readonly StateEntry[]): Promise<boolean> {
    const pointer = fileSchema.safeParse(readPointer(pointerOf(slot)));
    if (!pointer.success) return false;
    const file = join(directory, pointer.data.file);
    if (!(await isWhole(file, pointer.data.sha256))) return false;
    const source = openSafetensors(file);
    try {
      for (const { name, data, range } of into) {
        const floats = readFloats(source, name);
        data.set(range === undefined ? floats : floats.subarray(range.begin, range.end));
      }
    } finally {
      source.close();
    }
    newestFile = file;
    return true;
  }

  return {
    directory,
    get newestFile() {
      return newestFile;
    },
    get damaged() {
      return damaged;
    },
    async save(state, why) {
      await writer.flush();
      if (!writes) {
        for (const entry of tensors) entry.collect?.();
        return;
      }
      const [first, second] = turns.map((slot) => stateOf(directory, slot)?.step ?? -1);
      const slot = why === "stop" ? stopSlot : first! <= second! ? turns[0] : turns[1];
      newestFile = join(directory, `${slot}.safetensors`);
      const metadata = { step: String(state.step), sampler: JSON.stringify(state.sampler) };
      // The state is live: what the thread gets is a copy, made now.
      const named = tensors.map((entry) => ({
        name: entry.name,
        shape: entry.shape,
        // One after the other, as the writer copies them.
        get data() {
          return entry.collect ? entry.collect()! : entry.data;
        },
      }));
      await writer.write({ file: newestFile, pointer: pointerOf(slot), tensors: named, metadata, state });
    },
    async saveBest(best, parameters) {
      await writer.flush();
      // In turn, so that the one before is whole until the pointer is replaced.
      const before = fileSchema.safeParse(readPointer(pointerOf(bestSlot))).data?.file;
      const [first, second] = turns.map((turn) => `${bestSlot}-${turn}.safetensors`);
      const file = join(directory, before === first ? second! : first!);
      await writer.write({ file, pointer: pointerOf(bestSlot), tensors: parameters, metadata: {}, state: best });
    },
    async load(which) {
      await writer.flush();
      const found = [...turns, ...(which === "all" ? [stopSlot] : [])]
        .map((slot) => ({ slot, state: stateOf(directory, slot) }))
        .filter((entry) => entry.state !== undefined)
        .sort((a, b) => b.state!.step - a.state!.step);
      damaged = [];
      for (const { slot, state } of found) {
        if (await read(slot, tensors)) return state;
        damaged.push(state!.step);
      }
      return undefined;
    },
    async loadBest(parameters) {
      await writer.flush();
      const best = z.object({ step: z.int(), loss: z.number() }).safeParse(readPointer(pointerOf(bestSlot)));
      const held = newestFile;
      const loaded = best.success && (await read(bestSlot, parameters));
      newestFile = held;
      return loaded ? best.data : undefined;
    },
    flush: () => writer.flush(),
    close: () => writer.close(),
  };
}

function stateOf(directory: string, slot: string): SnapshotState | undefined {
  return stateSchema.safeParse(readPointer(join(directory, `${slot}.json`))).data;
}
