// LoRA: a low-rank change B A beside a frozen layer (Hu et al., arXiv 2106.09685), saved as PEFT saves it.
// On InternLM2's fused wqkv one A is shared and B has wqkv's grouped rows.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { openSafetensors, readFloats, writeSafetensors } from "../formats/safetensors.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { linear as linearOp, randomUniform, scale, tensor, type Tape, type Tensor } from "../tensor/index.ts";
import { adapterPlaces } from "./adapter-places.ts";
import { bytesOf } from "./checkpoint.ts";
import { replaceLinears, type Decoder } from "./decoder.ts";
import { pickRows } from "./gguf-layout.ts";
import { denseLinear, type Linear } from "./layers/linear.ts";

export interface LoraOptions {
  rank: number;
  /** The change is scaled by alpha / rank. */
  alpha: number;
  /**
   * Last parts of layer names, for example "wqkv". "all-linear" is every linear layer, the output layer among them:
   * without it a model that never met the control tokens could not learn to end its turn.
   */
  targets: readonly string[] | "all-linear";
}

export interface LoraPair {
  /** The layer's checkpoint name. */
  name: string;
  /** [rank, inputs] */
  a: Tensor;
  /** [outputs, rank] */
  b: Tensor;
}

const prefix = "base_model.model.";

/** Puts fresh adapters (A uniform as PEFT's Kaiming, B zero) beside the targets, in place; returns what is to be trained. */
export function addLora(kernels: Kernels, decoder: Decoder, options: LoraOptions, seed: number): LoraPair[] {
  let stream = 0;
  const { targets } = options;
  const pairs = attach(decoder, options.alpha / options.rank, (layer) => {
    if (targets !== "all-linear" && !targets.includes(lastPart(layer.name))) return undefined;
    stream++;
    const a = kernels.allocate(options.rank * layer.inputs);
    const bound = 1 / Math.sqrt(layer.inputs);
    for (let i = 0; i < a.length; i++) a[i] = bound * (2 * randomUniform(seed, stream, i) - 1);
    return {
      name: layer.name,
      a: tensor(a, [options.rank, layer.inputs], `${prefix}${layer.name}.lora_A.weight`),
      b: tensor(
        kernels.allocate(layer.outputs * options.rank),
        [layer.outputs, options.rank],
        `${prefix}${layer.name}.lora_B.weight`,
      ),
    };
  });
  if (pairs.length === 0) {
    throw new Failure(
      "usage",
      `No layer is called ${JSON.stringify(options.targets)}.`,
      `Use "all-linear" or some of: ${[...targetNames(decoder)].join(", ")}.`,
    );
  }
  return pairs;
}

function targetNames(decoder: Decoder): Set<string> {
  const names = new Set<string>();
  replaceAdaptable(decoder, (layer) => {
    names.add(lastPart(layer.name));
    return layer;
  });
  return names;
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** Goes over every layer that can have an adapter: those of the blocks, and the output layer unless it is the embedding. */
export function replaceAdaptable(decoder: Decoder, replace: (layer: Linear) => Linear): void {
  replaceLinears(decoder, replace);
  if (!decoder.config.tieEmbeddings) decoder.head = replace(decoder.head);
}

/** Puts the pair that `make` has for a layer beside it; a layer without one stays as it is. */
function attach(decoder: Decoder, factor: number, make: (layer: Linear) => LoraPair | undefined): LoraPair[] {
  const pairs: LoraPair[] = [];
  replaceAdaptable(decoder, (layer) => {
    const pair = make(layer);
    if (!pair) return layer;
    pairs.push(pair);
    return loraLinear(layer, pair, factor);
  });
  return pairs;
}

/** base(x) + factor * (x A^T) B^T. */
function loraLinear(base: Linear, { a, b }: LoraPair, factor: number): Linear {
  const { terms } = base;
  return {
    name: base.name,
    outputs: base.outputs,
    inputs: base.inputs,
    weight: base.weight,
    bias: base.bias,
    apply(tape, x, residual) {
      const y = base.apply(tape, x, residual);
      const down = linearOp(tape, x, a);
      const scaled = scale(tape, down, factor);
      const out = linearOp(tape, scaled, b, y);
      tape.give(y, down, scaled);
      return out;
    },
    ...(terms && {
      terms: (tape: Tape, x: Tensor) => [
        ...terms(tape, x),
        { x: scale(tape, linearOp(tape, x, a), factor), weight: b },
      ],
    }),
  };
}

/** Writes adapter_config.json and adapter_model.safetensors as PEFT does. */
export function saveAdapter(directory: string, pairs: readonly LoraPair[], options: LoraOptions, base: string): void {
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: 0,
    target_modules: [...new Set(pairs.map(({ name }) => lastPart(name)))].sort(),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    modules_to_save: null,
  };
  writeFileSync(join(directory, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
  writeSafetensors(
    join(directory, "adapter_model.safetensors"),
    pairs.flatMap(({ a, b }) =>
      [a, b].map(({ name, data, shape }) => ({ name, dtype: "F32" as const, shape, bytes: bytesOf(data) })),
    ),
    { format: "pt" },
  );
}

const adapterConfigSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().min(1).max(65536),
  lora_alpha: z.number().positive(),
  target_modules: z.union([z.array(z.string()), z.string()]),
  use_dora: z.literal(false).optional(),
  use_rslora: z.literal(false).optional(),
});

/** A PEFT adapter as its files say. */
export interface AdapterWeights {
  /** The change is factor * B A. */
  factor: number;
  pairs: LoraPair[];
}

/** Loads a PEFT adapter and puts it beside the layers that it changes, in place. */
export function loadAdapter(kernels: Kernels, decoder: Decoder, directory: string): LoraPair[] {
  const { factor, pairs } = readAdapter(kernels, decoder, directory);
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  return attach(decoder, factor, (layer) => byName.get(layer.name));
}

/** Reads a PEFT adapter for this decoder, which stays as it is. Throws Failure("input") where it does not fit. */
export function readAdapter(kernels: Kernels, decoder: Decoder, directory: string): AdapterWeights {
  const configPath = join(directory, "adapter_config.json");
  if (!existsSync(configPath)) {
    throw new Failure("input", `${directory}: there is no adapter_config.json.`, "Give a PEFT adapter directory.");
  }
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(configPath, "utf8"));
  } catch (cause) {
    throw new Failure("input", `${configPath}: not JSON.`, "Restore the file.", { cause });
  }
  const parsed = adapterConfigSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Failure(
      "input",
      `${configPath}: field ${issue!.path.join(".")}: ${issue!.message}.`,
      "Plain LoRA adapters are read; DoRA and rsLoRA are not.",
    );
  }
  const { r: rank, lora_alpha: alpha } = parsed.data;
  const source = openSafetensors(join(directory, "adapter_model.safetensors"));
  try {
    const layers = new Set<string>();
    for (const name of source.tensors.keys()) {
      const match = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name);
      if (!match)
        throw new Failure("input", `${source.path}: tensor ${name} is no LoRA weight.`, "Only LoRA A and B are read.");
      layers.add(match[1]!);
    }
    const read = (name: string, shape: readonly number[]): Tensor => {
      const entry = source.tensors.get(name);
      if (!entry || entry.shape[0] !== shape[0] || entry.shape[1] !== shape[1]) {
        throw new Failure(
          "input",
          `${source.path}: tensor ${name} is ${entry ? `[${entry.shape.join(", ")}]` : "missing"}, expected [${shape.join(", ")}].`,
          "The adapter was made for another model.",
        );
      }
      const data = kernels.allocate(shape[0]! * shape[1]!);
      data.set(readFloats(source, name));
      return tensor(data, shape, name);
    };
    const pairs: LoraPair[] = [];
    const places = adapterPlaces(decoder.config, layers);
    const used = new Set<string>();
    replaceAdaptable(decoder, (layer) => {
      const { name, outputs, rows } = places?.get(layer.name) ?? { name: layer.name, outputs: layer.outputs };
      if (layers.has(name)) {
        used.add(name);
        const a = read(`${prefix}${name}.lora_A.weight`, [rank, layer.inputs]);
        const b = read(`${prefix}${name}.lora_B.weight`, [outputs, rank]);
        const picked = rows && tensor(pickRows(b.data, rows, rank), [layer.outputs, rank], b.name);
        pairs.push({ name: layer.name, a, b: picked ?? b });
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
    return { factor: alpha / rank, pairs };
  } finally {
    source.close();
  }
}

/** W + factor B A, written into the dense weights; the adapters are left out of the model afterwards. */
export function mergeLora(kernels: Kernels, decoder: Decoder, pairs: readonly LoraPair[], options: LoraOptions): void {
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  replaceAdaptable(decoder, (layer) => {
    const pair = byName.get(layer.name);
    const weight = layer.weight;
    if (!pair || !weight) return layer;
    const [outputs, rank] = pair.b.shape as [number, number];
    const scaled = kernels.allocate(outputs * rank);
    kernels.addScaled(scaled, pair.b.data, options.alpha / options.rank, false);
    kernels.matmul(weight.data, scaled, pair.a.data, outputs, layer.inputs, rank, "nn", true);
    return { ...denseLinear(weight, layer.bias), name: layer.name };
  });
}
