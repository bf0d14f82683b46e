// What a run of training is made of, as far as its memory and its time go; and the same run over counting kernels.
import { frozenBytes } from "../../kernels/checks/frozen.ts";
import {
  withPrecision,
  type FrozenScheme,
  type FrozenWeight,
  type Kernels,
  type Precision,
} from "../../kernels/index.ts";
import {
  adapterTensors,
  addLora,
  buildDecoder,
  makeTrainable,
  namedTensors,
  type DecoderConfig,
  type DecoderParts,
  type LoraOptions,
} from "../../model/index.ts";
import { frozenParts } from "../../model/frozen.ts";
import { createTape, sizeOf, tensor } from "../../tensor/index.ts";
import { createAverages } from "../averages.ts";
import { createBatch, placeDocument, type Batch } from "../batch.ts";
import { createOptimizer, type OptimizerSettings } from "../optimizer.ts";
import { imaginedRanks } from "../parallel/imagined-ranks.ts";
import type { Exchange, Ranks } from "../ranks.ts";
import { runBatch } from "../step.ts";
import { createShadow, type Call, type Shadow } from "./shadow.ts";

/** A run of training, before any of it is there. */
export interface TrainingShape {
  config: DecoderConfig;
  /** Rows of a batch, and batches of a step. */
  batchTokens: number;
  accumulate: number;
  /** Longest piece of a document. */
  length: number;
  optimizer: OptimizerSettings;
  /** The share of the layers whose activations are made again in the backward pass. */
  checkpointing?: number;
  /** Of the products in the passes; default "f32". */
  precision?: Precision;
  /** Exponential averages of the weights are kept. */
  averages?: boolean;
  /** Adapters are trained in place of the weights. */
  lora?: LoraOptions;
  /** How the weights lie that adapters stand beside; default dense float32. */
  frozen?: FrozenSchemes;
  /** The ranks that train together, and how many of them share one set of moments; default: this process alone. */
  ranks?: Pick<Ranks, "rank" | "size">;
  zero?: number;
  /** A batch of the data; default: as many pieces of `length` as there is room for. */
  batch?: Batch;
}

/** The scheme of a matrix, by its checkpoint name with ".weight". */
export type FrozenSchemes = (name: string) => FrozenScheme;

export interface ShadowRun {
  shadow: Shadow;
  /** Bytes, by what they are for. */
  weights: number;
  gradients: number;
  moments: number;
  averages: number;
  /** Activations and their gradients, at their most. */
  activations: number;
  /** Of what a snapshot holds. */
  state: number;
  trainedParameters: number;
  /** What ranks exchange together; empty for a process alone. */
  buckets: Exchange["buckets"];
  /** Calls of a pass over a batch, of the update, and of a pass without backward. */
  pass: Call[];
  update: Call[];
  validation: Call[];
}

/** Runs the shape over kernels that count. */
export function runShadow(real: Kernels, shape: TrainingShape): ShadowRun {
  const shadow = createShadow();
  const kernels = shadow.of(real);
  const marks: number[] = [];
  const mark = (): number => {
    const before = marks.at(-1) ?? 0;
    marks.push(shadow.bytes);
    return shadow.bytes - before;
  };
  const decoder = buildDecoder(kernels, shape.config, partsOf(shape, shadow, kernels));
  const weights = mark();
  const trained = shape.lora
    ? adapterTensors(addLora(kernels, decoder, shape.lora, 1))
    : [...namedTensors(decoder).values()];
  const adapters = mark();
  makeTrainable(kernels, trained);
  const gradients = mark();
  const optimizer = createOptimizer(kernels, decoder, trained, shape.optimizer, {
    ...(shape.ranks && shape.ranks.size > 1 && { ranks: imaginedRanks(shape.ranks.rank, shape.ranks.size) }),
    zeroGroup: shape.zero ?? 1,
  });
  const averages = shape.averages ? createAverages(kernels, trained, 0.999) : undefined;
  const state = [...trained, ...optimizer.state, ...(averages?.state ?? [])];
  const averageBytes = (averages?.state ?? []).reduce((sum, { data }) => sum + data.byteLength, 0);
  const moments = mark() - averageBytes;

  using tape = createTape(shape.precision ? shadow.of(withPrecision(real, shape.precision)) : kernels, {
    recording: true,
  });
  const batch = shape.batch ?? fullBatch(shape);
  const pass = (gradientScale: number): Call[] => {
    shadow.takeCalls();
    tape.pass.randomKey = gradientScale === 0 ? undefined : 1;
    runBatch(tape, decoder, batch, gradientScale, shape);
    return shadow.takeCalls();
  };
  const first = pass(1);
  // A later pass of a step adds to the gradients: it may take other buffers.
  const later = pass(1);
  const validation = pass(0);
  // Now and then the norms of what moved are measured, which takes a copy.
  optimizer.update(1, 0, optimizer.gradientNorm(1), true);
  shadow.takeCalls();
  runBatch(tape, decoder, batch, 1, shape);
  shadow.takeCalls();
  optimizer.step(2, 0);
  averages?.update(2);
  const update = shadow.takeCalls();
  return {
    shadow,
    weights: weights + adapters,
    gradients,
    moments,
    averages: averageBytes,
    activations: mark(),
    // A snapshot has all of what ranks have dealt out.
    state: state.reduce((sum, { shape: extents }) => sum + Float32Array.BYTES_PER_ELEMENT * sizeOf(extents), 0),
    trainedParameters: trained.reduce((sum, { data }) => sum + data.length, 0),
    buckets: optimizer.exchange?.buckets ?? [],
    pass: shape.accumulate > 1 ? later : first,
    update,
    validation,
  };
}

function partsOf({ config, frozen }: TrainingShape, shadow: Shadow, kernels: Kernels): DecoderParts {
  const weight = (name: string, outputs: number, inputs: number): FrozenWeight => {
    const stored = { scheme: frozen!(name), outputs, inputs };
    return { ...stored, data: shadow.allocateBytes(frozenBytes(stored)) };
  };
  return {
    tensor: (name, extents) => tensor(kernels.allocate(sizeOf(extents)), extents, name),
    ...(frozen && frozenParts(kernels, config, "stored", weight)),
  };
}

/** A batch in which all pieces are as long as they may be. */
function fullBatch({ batchTokens, length }: TrainingShape): Batch {
  const batch = createBatch(batchTokens, 0);
  const zeros = new Int32Array(length);
  for (let row = 0; row < batchTokens; row += length) {
    const piece = zeros.subarray(0, Math.min(length, batchTokens - row));
    placeDocument(batch, row, piece, piece);
  }
  return batch;
}
