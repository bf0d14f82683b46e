// A model as tuning takes it up: its weights dense or frozen, what of it is trained, and what is written in the end.
// Fine-tuning and preference optimization share it.
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { checkArtifactPlace, hashInput, writeArtifact, type ManifestInput } from "../formats/manifest.ts";
import type { Kernels } from "../kernels/index.ts";
import {
  adapterTensors,
  addLora,
  loadCheckpoint,
  makeTrainable,
  mergeInto,
  namedTensors,
  saveAdapter,
  writeModelFiles,
  type Decoder,
  type LoraOptions,
  type LoraPair,
  type WeightType,
} from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Tensor } from "../tensor/index.ts";
import { copyTokenizer, tokenizerOf, type Tokenizer } from "../tokenizer/index.ts";
import type { DataSource } from "./data/index.ts";
import { checkStored, readStoredModel } from "./plan/stored.ts";

export interface TuningSettings {
  /** "lora" trains adapters beside frozen weights, "full" the weights themselves. */
  method: "lora" | "full";
  /**
   * How frozen weights are held: "stored" in the bits of their file, "nf4" in 4 bits made while reading, "float" as
   * float32. Products are float32 in each. Without it: as stored where the file has less than 32 bits a weight.
   */
  base?: "stored" | "nf4" | "float";
  lora: LoraOptions;
  /** Numbers of a checkpoint that is written. */
  weights: WeightType;
  seed: number;
}

export interface TunedModel {
  kernels: Kernels;
  decoder: Decoder;
  tokenizer: Tokenizer;
  /** Empty in full tuning. */
  pairs: readonly LoraPair[];
  trained: readonly Tensor[];
  trainableParameters: number;
}

/** Where results go; all are directories of their own. */
export interface TuningPlaces {
  model: string;
  /** An adapter directory, or a checkpoint in full tuning. */
  out: string;
  /** A checkpoint with the adapter merged into the weights. */
  merged?: string;
}

/** Refuses places that hold something else, before any work is done. */
export function checkTuningPlaces(
  { model, out, merged }: TuningPlaces,
  { method }: Pick<TuningSettings, "method">,
): void {
  checkArtifactPlace(out, method === "full" ? "checkpoint" : "adapter");
  if (resolve(out) === resolve(model)) {
    throw new Failure("usage", `--out ${out} is the place of the model itself.`, "Choose a directory of its own.");
  }
  if (merged === undefined) return;
  if (method === "full") {
    throw new Failure(
      "usage",
      "--merged is for adapters; in full tuning --out is the checkpoint.",
      "Leave out --merged.",
    );
  }
  checkArtifactPlace(merged, "checkpoint");
  if ([out, model].some((path) => resolve(path) === resolve(merged))) {
    throw new Failure(
      "usage",
      `--merged ${merged} is the place of the adapter or of the model itself.`,
      "Choose a directory of its own.",
    );
  }
}

/** Opens a model to be tuned and marks what is trained. Throws a Failure where model, tokenizer and settings do not fit. */
export function openTuned(kernels: Kernels, model: string, settings: TuningSettings): TunedModel {
  const { method, base, lora, seed } = settings;
  const tokenizer = tokenizerOf(model);
  checkStored(model, readStoredModel(model), settings);
  const decoder = loadCheckpoint(model, kernels, frozenAs(method, base));
  if (tokenizer.vocabSize > decoder.config.vocabSize) {
    throw new Failure(
      "input",
      `${model}: the tokenizer has ${tokenizer.vocabSize} tokens and the model ${decoder.config.vocabSize}.`,
      "The tokenizer belongs to another model.",
    );
  }
  const pairs = method === "lora" ? addLora(kernels, decoder, lora, seed) : [];
  const trained = method === "lora" ? adapterTensors(pairs) : [...namedTensors(decoder).values()];
  makeTrainable(kernels, trained);
  const trainableParameters = trained.reduce((count, { data }) => count + data.length, 0);
  return { kernels, decoder, tokenizer, pairs, trained, trainableParameters };
}

function frozenAs(method: TuningSettings["method"], base: TuningSettings["base"]): { frozen?: "stored" | "nf4" } {
  if (method === "lora") return base === "float" ? {} : { frozen: base ?? "stored" };
  if (base === undefined || base === "float") return {};
  throw new Failure(
    "usage",
    `Full tuning trains every weight, so they cannot be held as ${base}.`,
    "Leave out --base.",
  );
}

/** What is trained, in a sentence. */
export function describeTuned(
  { decoder, pairs, trainableParameters }: TunedModel,
  { method, lora }: TuningSettings,
): string {
  const millions = `${(trainableParameters / 1e6).toFixed(2)} M trained parameters`;
  if (method === "full") return `Full tuning of ${decoder.config.family}: ${millions}.`;
  const kinds = [lora.rslora && "rank-stabilized", lora.dora && "weight-decomposed"].filter(Boolean).join(", ");
  return `LoRA${kinds && ` (${kinds})`} of rank ${lora.rank} on ${pairs.length} layers: ${millions}.`;
}

/** What a manifest says of a run. */
export interface TuningRecord {
  inputs: Record<string, ManifestInput>;
  options: Record<string, unknown>;
  metrics: Record<string, number>;
}

/**
 * Writes what was trained: an adapter as PEFT has it, or a Hugging Face checkpoint; and a merged checkpoint where it is
 * asked for. Each is whole or absent. `beside` may add files to `out`.
 */
export async function writeTuned(
  tuned: TunedModel,
  settings: TuningSettings,
  { model, out, merged }: TuningPlaces,
  { inputs, options, metrics }: TuningRecord,
  beside: (directory: string) => void = () => {},
): Promise<void> {
  const artifact = { inputs, options, seed: settings.seed };
  const kind = settings.method === "full" ? "checkpoint" : "adapter";
  await writeArtifact(out, { kind, ...artifact }, (directory) => {
    if (settings.method === "full")
      writeModelFiles(directory, tuned.kernels, tuned.decoder, { type: settings.weights });
    else saveAdapter(directory, tuned.pairs, settings.lora, existsSync(model) ? resolve(model) : model);
    copyTokenizer(model, directory);
    beside(directory);
    return Promise.resolve(metrics);
  });
  if (merged === undefined) return;
  await writeArtifact(merged, { kind: "checkpoint", ...artifact }, (directory) => {
    writeMerged(directory, tuned, settings.weights);
    copyTokenizer(model, directory);
    return Promise.resolve(metrics);
  });
}

function writeMerged(directory: string, { kernels, decoder, pairs }: TunedModel, type: WeightType): void {
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  writeModelFiles(directory, kernels, decoder, {
    type,
    change(layer, numbers) {
      const pair = byName.get(layer.name);
      if (pair) mergeInto(kernels, pair, numbers);
    },
  });
}

/** Writes a snapshot's weights as they would be handed out, into OUT.saves/step-N, and keeps the newest few. */
export async function keepSave(
  tuned: TunedModel,
  settings: TuningSettings,
  { model, out, merged }: TuningPlaces,
  step: number,
  keep: number,
): Promise<void> {
  const root = `${out}.saves`;
  const place = join(root, `step-${String(step).padStart(6, "0")}`);
  const own = merged === undefined ? { model, out: place } : { model, out: place, merged: `${place}-merged` };
  // Made again after a crash, a save takes the place of the same one.
  for (const path of [own.out, own.merged]) if (path !== undefined) rmSync(path, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  await writeTuned(tuned, settings, own, { inputs: {}, options: { step }, metrics: {} });
  const steps = readdirSync(root).filter((name) => /^step-\d+$/.test(name));
  for (const name of steps.sort().slice(0, -keep)) {
    for (const old of [name, `${name}-merged`]) rmSync(join(root, old), { recursive: true, force: true });
  }
}

/** The hashes of a run's inputs; of a dataset of the hub, what it is called. */
export async function hashInputs(model: string, data: readonly DataSource[]): Promise<Record<string, ManifestInput>> {
  const inputs: Record<string, ManifestInput> = { model: await hashInput(model) };
  for (const [index, { path }] of data.entries()) {
    if (existsSync(path)) inputs[index === 0 ? "data" : `data ${index + 1}`] = await hashInput(path);
  }
  return inputs;
}
