// Snapshots of training: two files written in turn, each whole or absent. A pointer beside each file holds its
// checksum and the small state, and is renamed into place last; a snapshot that does not match its pointer is passed over.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { environmentFailure, hashFile } from "../formats/manifest.ts";
import { openSafetensors, readFloats, writeSafetensors } from "../formats/safetensors.ts";
import { bytesOf } from "../model/index.ts";
import type { Optimizer } from "./optimizer.ts";
import type { SamplerState } from "./sampler.ts";

const pointerSchema = z.object({
  step: z.int().min(0),
  sampler: z.record(z.string(), z.unknown()),
  sha256: z.string(),
});

export interface SnapshotState {
  /** Steps done. */
  step: number;
  sampler: SamplerState;
}

const slots = ["a", "b"] as const;

/** Where the snapshots of a run are kept. */
export function snapshotDirectory(runDirectory: string): string {
  return join(runDirectory, "snapshots");
}

/** Whether a run has got as far as a snapshot. */
export function hasSnapshot(runDirectory: string): boolean {
  return slots.some((slot) => readPointer(snapshotDirectory(runDirectory), slot) !== undefined);
}

/** Weights, moments and place, as one safetensors file; equal states give equal bytes. */
export function writeTrainingState(path: string, optimizer: Optimizer, state: SnapshotState): void {
  const tensors = [...optimizer.parameters, ...optimizer.state].map(({ name, shape, data }) => ({
    name,
    dtype: "F32" as const,
    shape,
    bytes: bytesOf(data),
  }));
  writeSafetensors(path, tensors, { step: String(state.step), sampler: JSON.stringify(state.sampler) });
}

/** Writes the snapshot of a step into the older of the two slots. */
export async function saveSnapshot(directory: string, optimizer: Optimizer, state: SnapshotState): Promise<void> {
  try {
    mkdirSync(directory, { recursive: true });
    await writeSlot(directory, optimizer, state);
  } catch (error) {
    throw environmentFailure(error, directory);
  }
}

async function writeSlot(directory: string, optimizer: Optimizer, state: SnapshotState): Promise<void> {
  const steps = slots.map((slot) => readPointer(directory, slot)?.step ?? -1);
  const slot = steps[0]! <= steps[1]! ? slots[0] : slots[1];
  const data = join(directory, `${slot}.safetensors`);
  writeTrainingState(data, optimizer, state);
  const pointer = join(directory, `${slot}.json`);
  writeFileSync(`${pointer}.new`, `${JSON.stringify({ ...state, sha256: await hashFile(data) })}\n`);
  sync(`${pointer}.new`);
  renameSync(`${pointer}.new`, pointer);
  sync(directory);
}

/** Loads the newest snapshot that is whole into the parameters and moments; undefined where there is none. */
export async function loadSnapshot(directory: string, optimizer: Optimizer): Promise<SnapshotState | undefined> {
  const found = slots
    .map((slot) => ({ slot, pointer: readPointer(directory, slot) }))
    .filter((entry) => entry.pointer !== undefined)
    .sort((a, b) => b.pointer!.step - a.pointer!.step);
  for (const { slot, pointer } of found) {
    const file = join(directory, `${slot}.safetensors`);
    if (!existsSync(file) || (await hashFile(file)) !== pointer!.sha256) continue;
    const source = openSafetensors(file);
    try {
      for (const { name, data } of [...optimizer.parameters, ...optimizer.state]) data.set(readFloats(source, name));
    } finally {
      source.close();
    }
    return { step: pointer!.step, sampler: pointer!.sampler };
  }
  return undefined;
}

function readPointer(directory: string, slot: string): z.infer<typeof pointerSchema> | undefined {
  try {
    return pointerSchema.parse(JSON.parse(readFileSync(join(directory, `${slot}.json`), "utf8")));
  } catch {
    // Absent or broken: the other slot serves.
    return undefined;
  }
}

function sync(path: string): void {
  const handle = openSync(path, "r");
  fsyncSync(handle);
  closeSync(handle);
}
