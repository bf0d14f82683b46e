// A decoder: embedding, blocks of attention and feed-forward, a last norm and an output layer.
// One forward pass for training and serving; they differ in the tape and in the attention that is passed in.
import type { HeadLayout, Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import {
  attention,
  embedding,
  randomNormal,
  rmsNorm,
  sizeOf,
  tensor,
  type Tape,
  type Tensor,
} from "../tensor/index.ts";
import type { DecoderConfig } from "./config.ts";
import { familyOf } from "./family.ts";
import { fusedLayout, projectAndAttend, separateLayout, type Attend, type Projections } from "./layers/attention.ts";
import { feedForward } from "./layers/feed-forward.ts";
import { denseLinear, type Linear } from "./layers/linear.ts";
import { growingRopeTables, type RopeSource } from "./layers/rope-tables.ts";

export interface Layer {
  attentionNorm: Tensor;
  projections: Projections;
  output: Linear;
  feedForwardNorm: Tensor;
  gate: Linear;
  up: Linear;
  down: Linear;
}

export interface Decoder {
  readonly config: DecoderConfig;
  readonly rope: RopeSource;
  readonly layout: HeadLayout;
  embedding: Tensor;
  layers: Layer[];
  norm: Tensor;
  head: Linear;
}

/** Builds a decoder from tensors by checkpoint name. Linear layers are dense unless `linear` makes others. */
export function buildDecoder(
  kernels: Kernels,
  config: DecoderConfig,
  get: (name: string, shape: readonly number[]) => Tensor,
  linear = (name: string, outputs: number, inputs: number): Linear =>
    denseLinear(get(`${name}.weight`, [outputs, inputs])),
): Decoder {
  const { hiddenSize, headDim, heads, kvHeads, intermediateSize, vocabSize } = config;
  const names = familyOf(config.family).names;
  const table = get(names.embedding, [vocabSize, hiddenSize]);
  return {
    config,
    rope: growingRopeTables(kernels, headDim, config.ropeTheta, config.maxPositions),
    layout: names.layer(0).projections.length === 1 ? fusedLayout(config) : separateLayout(config),
    embedding: table,
    layers: Array.from({ length: config.layers }, (_, index) => {
      const layer = names.layer(index);
      return {
        attentionNorm: get(layer.attentionNorm, [hiddenSize]),
        projections:
          layer.projections.length === 1
            ? [linear(layer.projections[0], (heads + 2 * kvHeads) * headDim, hiddenSize)]
            : [
                linear(layer.projections[0], heads * headDim, hiddenSize),
                linear(layer.projections[1], kvHeads * headDim, hiddenSize),
                linear(layer.projections[2], kvHeads * headDim, hiddenSize),
              ],
        output: linear(layer.output, hiddenSize, heads * headDim),
        feedForwardNorm: get(layer.feedForwardNorm, [hiddenSize]),
        gate: linear(layer.gate, intermediateSize, hiddenSize),
        up: linear(layer.up, intermediateSize, hiddenSize),
        down: linear(layer.down, hiddenSize, intermediateSize),
      };
    }),
    norm: get(names.norm, [hiddenSize]),
    head: config.tieEmbeddings
      ? { ...denseLinear(table), name: names.head }
      : linear(names.head, vocabSize, hiddenSize),
  };
}

/** A fresh decoder: normal weights, output projections smaller with depth (InternEvo's initialisation), norms of one. */
export function initializeDecoder(kernels: Kernels, config: DecoderConfig, seed: number): Decoder {
  const names = familyOf(config.family).names;
  const narrow = new Map<string, number>();
  for (let layer = 0; layer < config.layers; layer++) {
    const scale = 1 / Math.sqrt(2 * (layer + 1));
    narrow.set(`${names.layer(layer).output}.weight`, scale);
    narrow.set(`${names.layer(layer).down}.weight`, scale);
  }
  let stream = 0;
  return buildDecoder(kernels, config, (name, shape) => {
    const data = kernels.allocate(sizeOf(shape));
    stream++;
    if (shape.length === 1) data.fill(1);
    else {
      const deviation = config.initializerRange * (narrow.get(name) ?? 1);
      for (let i = 0; i < data.length; i++) data[i] = deviation * randomNormal(seed, stream, i);
    }
    return tensor(data, shape, name);
  });
}

/** Every dense tensor by checkpoint name, in checkpoint order; a tied output layer is left out. */
export function namedTensors(decoder: Decoder): Map<string, Tensor> {
  const tensors: (Tensor | undefined)[] = [decoder.embedding];
  for (const layer of decoder.layers) {
    tensors.push(layer.attentionNorm);
    for (const projection of layer.projections) tensors.push(projection.weight);
    tensors.push(layer.output.weight, layer.feedForwardNorm, layer.gate.weight, layer.up.weight, layer.down.weight);
  }
  tensors.push(decoder.norm);
  if (!decoder.config.tieEmbeddings) tensors.push(decoder.head.weight);
  return new Map(tensors.filter((entry) => entry !== undefined).map((entry) => [entry.name, entry]));
}

/** Replaces linear layers of the blocks (not the output layer) in place, by what `replace` returns for each. */
export function replaceLinears(decoder: Decoder, replace: (linear: Linear) => Linear): void {
  for (const layer of decoder.layers) {
    layer.projections = layer.projections.map(replace) as unknown as Projections;
    layer.output = replace(layer.output);
    layer.gate = replace(layer.gate);
    layer.up = replace(layer.up);
    layer.down = replace(layer.down);
  }
}

/** ids, positions [rows] -> hidden states after the last norm [rows, hidden]. */
export function decode(tape: Tape, decoder: Decoder, ids: Int32Array, positions: Int32Array, attend: Attend): Tensor {
  const { config } = decoder;
  let longest = 0;
  for (const position of positions) {
    if (position < 0 || position >= config.maxPositions) {
      throw new Failure(
        "input",
        `Position ${position} is outside this model's ${config.maxPositions} positions.`,
        "Use a shorter prompt, fewer new tokens, or a model with a longer context.",
      );
    }
    longest = Math.max(longest, position + 1);
  }
  const tables = decoder.rope(longest);
  let x = embedding(tape, decoder.embedding, ids);
  for (const [index, layer] of decoder.layers.entries()) {
    const attentionInput = rmsNorm(tape, x, layer.attentionNorm, config.rmsNormEps);
    const attended = projectAndAttend(
      tape,
      index,
      attentionInput,
      layer.projections,
      decoder.layout,
      positions,
      tables,
      attend,
    );
    const middle = layer.output.apply(tape, attended, x);
    tape.give(attentionInput, attended, x);
    const feedForwardInput = rmsNorm(tape, middle, layer.feedForwardNorm, config.rmsNormEps);
    x = feedForward(tape, feedForwardInput, layer.gate, layer.up, layer.down, middle);
    tape.give(feedForwardInput, middle);
  }
  const out = rmsNorm(tape, x, decoder.norm, config.rmsNormEps);
  tape.give(x);
  return out;
}

/** Attention over documents packed in the rows: row r sees rows starts[r]..r. */
export function packedAttention(starts: Int32Array): Attend {
  return (tape, _layer, q, k, v, layout) => attention(tape, q, k, v, starts, layout);
}
