// Adapters as PEFT saves them: adapter_config.json and adapter_model.safetensors, in all three variants.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { openSafetensors, readFloats, writeSafetensors, type TensorSource } from "../../formats/safetensors.ts";
import type { Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import { tensor, type Tensor } from "../../tensor/index.ts";
import { adapterPlaces, type AdapterPlace } from "../adapter-places.ts";
import { bytesOf } from "../checkpoint.ts";
import type { Decoder } from "../decoder.ts";
import type { Linear } from "../layers/linear.ts";
import { adapterPrefix, attachAdapter } from "./add.ts";
import { lastPart, loraFactor, type LoraOptions } from "./options.ts";
import { adapterTensors, replaceAdaptable, type LoraPair } from "./pair.ts";

const configFile = "adapter_config.json";
const weightsFile = "adapter_model.safetensors";

/** Writes adapter_config.json and adapter_model.safetensors as PEFT does. */
export function saveAdapter(directory: string, pairs: readonly LoraPair[], options: LoraOptions, base: string): void {
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout ?? 0,
    target_modules: [...new Set(pairs.map(({ name }) => lastPart(name)))].sort(),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    use_rslora: options.rslora ?? false,
    use_dora: options.dora ?? false,
    modules_to_save: null,
  };
  writeFileSync(join(directory, configFile), `${JSON.stringify(config, null, 2)}\n`);
  writeSafetensors(
    join(directory, weightsFile),
    adapterTensors(pairs).map(({ name, data, shape }) => ({ name, dtype: "F32", shape, bytes: bytesOf(data) })),
    { format: "pt" },
  );
}

const noPattern = z.record(z.string(), z.never()).nullish();

// Fields that change what the matrices mean are read or refused; others say how it was trained.
const adapterConfigSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().min(1).max(65536),
  lora_alpha: z.number().positive(),
  target_modules: z.union([z.array(z.string()), z.string()]).nullish(),
  use_dora: z.boolean().nullish(),
  use_rslora: z.boolean().nullish(),
  fan_in_fan_out: z.literal(false).nullish(),
  rank_pattern: noPattern,
  alpha_pattern: noPattern,
});

/**
 * Loads a PEFT adapter and puts it beside the layers that it changes, in place. `exact` opens the same model with weights
 * that can be looked at, which DoRA needs beside packed ones.
 */
export function loadAdapter(kernels: Kernels, decoder: Decoder, directory: string, exact?: () => Decoder): LoraPair[] {
  const pairs = readAdapter(kernels, decoder, directory);
  attachAdapter(kernels, decoder, pairs, pairs.some(({ magnitude }) => magnitude) ? exact?.() : undefined);
  return pairs;
}

/** Reads a PEFT adapter for this decoder, which stays as it is. Throws Failure("input") where it does not fit. */
export function readAdapter(kernels: Kernels, decoder: Decoder, directory: string): LoraPair[] {
  const { r: rank, lora_alpha: alpha, use_rslora, use_dora } = readAdapterConfig(directory);
  const source = openSafetensors(join(directory, weightsFile));
  try {
    const layers = new Set<string>();
    for (const name of source.tensors.keys()) {
      // PEFT writes the output layer's own weight along where it has an adapter; the model has it.
      if (/^base_model\.model\.(.+)\.base_layer\.weight$/.test(name)) continue;
      const match = /^base_model\.model\.(.+)\.(?:lora_[AB]\.weight|(lora_magnitude_vector))$/.exec(name);
      if (!match || Boolean(match[2]) > Boolean(use_dora)) {
        throw new Failure("input", `${source.path}: tensor ${name} is no LoRA weight.`, "Only LoRA and DoRA are read.");
      }
      layers.add(match[1]!);
    }
    const reader = { kernels, source, rank, dora: use_dora === true };
    const factor = loraFactor({ rank, alpha, rslora: use_rslora === true });
    const pairs: LoraPair[] = [];
    const places = adapterPlaces(decoder.config, layers);
    const used = new Set<string>();
    replaceAdaptable(decoder, (layer) => {
      const own: AdapterPlace = { name: layer.name, outputs: layer.outputs };
      const parts = (places?.get(layer.name) ?? [own]).filter(({ name }) => layers.has(name));
      if (parts.length > 0) {
        for (const { name } of parts) used.add(name);
        pairs.push({ ...readPair(reader, layer, parts), factor, enabled: true });
      }
      return layer;
    });
    const [left] = layers.difference(used);
    if (left !== undefined) {
      throw new Failure(
        "input",
        `${source.path}: the model has no layer ${left}.`,
        "The adapter was made for another model.",
      );
    }
    return pairs;
  } finally {
    source.close();
  }
}

function readAdapterConfig(directory: string): z.infer<typeof adapterConfigSchema> {
  const path = join(directory, configFile);
  if (!existsSync(path)) {
    throw new Failure("input", `${directory}: there is no ${configFile}.`, "Give a PEFT adapter directory.");
  }
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new Failure("input", `${path}: not JSON.`, "Restore the file.", { cause });
  }
  const parsed = adapterConfigSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Failure(
    "input",
    `${path}: field ${issue!.path.join(".")}: ${issue!.message}.`,
    "LoRA, rsLoRA and DoRA adapters are read, of one rank and one alpha for all layers.",
  );
}

interface Reader {
  kernels: Kernels;
  source: TensorSource;
  rank: number;
  dora: boolean;
}

/**
 * The matrices of a layer from those of its parts. Parts that have an A each (q, k and v of a fused projection) are
 * stacked: the A's one below the other, and each row of B beside zeros for the A's of the other parts.
 */
function readPair(
  { kernels, source, rank, dora }: Reader,
  layer: Linear,
  parts: readonly AdapterPlace[],
): Pick<LoraPair, "name" | "a" | "b" | "magnitude"> {
  const { name, inputs, outputs } = layer;
  const whole = rank * parts.length;
  const a = kernels.allocate(whole * inputs);
  const b = kernels.allocate(outputs * whole);
  const lengths = dora ? kernels.allocate(outputs) : undefined;
  let covered = 0;
  for (const [index, part] of parts.entries()) {
    const label = `${adapterPrefix}${part.name}`;
    a.set(readTensor(source, `${label}.lora_A.weight`, [rank, inputs]), index * rank * inputs);
    const theirs = readTensor(source, `${label}.lora_B.weight`, [part.outputs, rank]);
    const theirLengths = lengths && readTensor(source, `${label}.lora_magnitude_vector`, [part.outputs]);
    const count = part.rows?.length ?? part.source?.length ?? part.outputs;
    for (let i = 0; i < count; i++) {
      const row = part.rows?.[i] ?? i;
      const from = part.source?.[i] ?? i;
      b.set(theirs.subarray(from * rank, (from + 1) * rank), row * whole + index * rank);
      if (lengths) lengths[row] = theirLengths![from]!;
    }
    covered += count;
  }
  if (lengths && covered < outputs) {
    throw new Failure(
      "input",
      `${source.path}: DoRA on ${parts.map((part) => part.name).join(" and ")} alone does not fit the model's ${name}.`,
      "Merge the adapter into the checkpoint that it was trained on, or train q, k and v together.",
    );
  }
  const label = `${adapterPrefix}${name}`;
  return {
    name,
    a: tensor(a, [whole, inputs], `${label}.lora_A.weight`),
    b: tensor(b, [outputs, whole], `${label}.lora_B.weight`),
    magnitude: lengths && tensor(lengths, [outputs], `${label}.lora_magnitude_vector`),
  };
}

function readTensor(source: TensorSource, name: string, shape: readonly number[]): Tensor["data"] {
  const found = source.tensors.get(name)?.shape;
  if (found?.length === shape.length && found.every((extent, axis) => extent === shape[axis])) {
    return readFloats(source, name);
  }
  throw new Failure(
    "input",
    `${source.path}: tensor ${name} is ${found ? `[${found.join(", ")}]` : "missing"}, expected [${shape.join(", ")}].`,
    "The adapter was made for another model.",
  );
}
