// A decoder: embedding, blocks of attention and feed-forward, a last norm and an output layer.
// One forward pass for training and serving; they differ in the tape and in the attention that is passed in.
import type { HeadLayout, Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { attention, randomNormal, rmsNorm, sizeOf, tensor, type Tape, type Tensor } from "../tensor/index.ts";
import { windowOf, type DecoderConfig } from "./config.ts";
import { familyOf, type TensorNames } from "./family.ts";
import {
  fusedLayout,
  projectAndAttend,
  separateLayout,
  type Attend,
  type HeadNorms,
  type Projections,
  type Rotation,
} from "./layers/attention.ts";
import { denseEmbedding, type Embedding } from "./layers/embedding.ts";
import { feedForward } from "./layers/feed-forward.ts";
import { denseLinear, type Linear } from "./layers/linear.ts";
import { growingRope, ropeOf, rowTables, type GrowingRope, type Rope, type RopeRun } from "./layers/rope.ts";
import { maximumPositions } from "./layers/rope-scaling.ts";

export interface Layer {
  attentionNorm: Tensor;
  projections: Projections;
  /** Absent in most families. */
  headNorms: HeadNorms | undefined;
  output: Linear;
  feedForwardNorm: Tensor;
  gate: Linear;
  up: Linear;
  down: Linear;
}

export interface Decoder {
  readonly config: DecoderConfig;
  /** The rotation of sequences that the model was made for; see `planRope` for longer ones. */
  readonly rope: GrowingRope;
  readonly layout: HeadLayout;
  embedding: Embedding;
  layers: Layer[];
  norm: Tensor;
  head: Linear;
}

/** How a decoder's tensors are come by, each by its checkpoint name. */
export interface DecoderParts {
  /** Norm weights and biases, and whatever has no maker of its own below. */
  tensor(name: string, shape: readonly number[]): Tensor;
  /** By the name without ".weight"; default dense. */
  linear?(name: string, outputs: number, inputs: number, bias: Tensor | undefined): Linear;
  /** Default dense. */
  embedding?(name: string, vocabSize: number, hiddenSize: number): Embedding;
  /** The output layer from the numbers of a tied table; by default that of a dense table. */
  tiedHead?(name: string, embedding: Embedding): Linear;
}

/** Builds a decoder from its parts, asked for in checkpoint order. */
export function buildDecoder(kernels: Kernels, config: DecoderConfig, parts: DecoderParts): Decoder {
  const { hiddenSize, headDim, heads, kvHeads, intermediateSize, vocabSize } = config;
  const { names } = familyOf(config.family);
  const linear = (name: string, outputs: number, inputs: number, hasBias = false): Linear => {
    const bias = hasBias ? parts.tensor(`${name}.bias`, [outputs]) : undefined;
    return parts.linear
      ? parts.linear(name, outputs, inputs, bias)
      : denseLinear(parts.tensor(`${name}.weight`, [outputs, inputs]), bias);
  };
  const headNorms = ({ qNorm, kNorm }: ReturnType<TensorNames["layer"]>): HeadNorms | undefined => {
    if (!config.qkNorm) return undefined;
    if (!qNorm || !kNorm) throw new Error(`the family ${config.family} has no norms of q and k`);
    return { q: parts.tensor(qNorm, [headDim]), k: parts.tensor(kNorm, [headDim]), eps: config.rmsNormEps };
  };
  const table =
    parts.embedding?.(names.embedding, vocabSize, hiddenSize) ??
    denseEmbedding(parts.tensor(names.embedding, [vocabSize, hiddenSize]));
  return {
    config,
    rope: growingRope(kernels, config),
    layout: names.layer(0).projections.length === 1 ? fusedLayout(config) : separateLayout(config),
    embedding: table,
    layers: Array.from({ length: config.layers }, (_, index) => {
      const layer = names.layer(index);
      const { qkvBias, outputBias, feedForwardBias } = config;
      return {
        attentionNorm: parts.tensor(layer.attentionNorm, [hiddenSize]),
        projections:
          layer.projections.length === 1
            ? [linear(layer.projections[0], (heads + 2 * kvHeads) * headDim, hiddenSize, qkvBias)]
            : [
                linear(layer.projections[0], heads * headDim, hiddenSize, qkvBias),
                linear(layer.projections[1], kvHeads * headDim, hiddenSize, qkvBias),
                linear(layer.projections[2], kvHeads * headDim, hiddenSize, qkvBias),
              ],
        headNorms: headNorms(layer),
        output: linear(layer.output, hiddenSize, heads * headDim, outputBias),
        feedForwardNorm: parts.tensor(layer.feedForwardNorm, [hiddenSize]),
        gate: linear(layer.gate, intermediateSize, hiddenSize, feedForwardBias),
        up: linear(layer.up, intermediateSize, hiddenSize, feedForwardBias),
        down: linear(layer.down, hiddenSize, intermediateSize, feedForwardBias),
      };
    }),
    norm: parts.tensor(names.norm, [hiddenSize]),
    head: config.tieEmbeddings
      ? (parts.tiedHead?.(names.head, table) ?? { ...denseLinear(table.weight!), name: names.head })
      : linear(names.head, vocabSize, hiddenSize),
  };
}

/**
 * A fresh decoder: normal weights, output projections smaller with depth (InternEvo's initialisation), norms of one,
 * biases of zero.
 */
export function initializeDecoder(kernels: Kernels, config: DecoderConfig, seed: number): Decoder {
  const names = familyOf(config.family).names;
  const narrow = new Map<string, number>();
  for (let layer = 0; layer < config.layers; layer++) {
    const scale = 1 / Math.sqrt(2 * (layer + 1));
    narrow.set(`${names.layer(layer).output}.weight`, scale);
    narrow.set(`${names.layer(layer).down}.weight`, scale);
  }
  let stream = 0;
  return buildDecoder(kernels, config, {
    tensor(name, shape) {
      const data = kernels.allocate(sizeOf(shape));
      stream++;
      if (shape.length === 1) data.fill(name.endsWith(".bias") ? 0 : 1);
      else {
        const deviation = config.initializerRange * (narrow.get(name) ?? 1);
        for (let i = 0; i < data.length; i++) data[i] = deviation * randomNormal(seed, stream, i);
      }
      return tensor(data, shape, name);
    },
  });
}

/** Every dense tensor by checkpoint name, in checkpoint order; a tied output layer is left out. */
export function namedTensors(decoder: Decoder): Map<string, Tensor> {
  const tensors: (Tensor | undefined)[] = [decoder.embedding.weight];
  const add = (...linears: readonly Linear[]): void => {
    for (const { weight, bias } of linears) tensors.push(weight, bias);
  };
  for (const { attentionNorm, projections, headNorms, output, feedForwardNorm, gate, up, down } of decoder.layers) {
    tensors.push(attentionNorm);
    add(...projections);
    tensors.push(headNorms?.q, headNorms?.k);
    add(output);
    tensors.push(feedForwardNorm);
    add(gate, up, down);
  }
  tensors.push(decoder.norm);
  if (!decoder.config.tieEmbeddings) add(decoder.head);
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

/**
 * How a sequence that will have so many tokens in all (prompt and what may follow) is rotated: by `decoder.rope`, unless
 * dynamic scaling gives a sequence of this length a base of its own. Fixed once, it makes chunks of a prompt irrelevant.
 */
export function planRope(decoder: Decoder, plannedTokens: number): Rope {
  const { config } = decoder;
  const most = maximumPositions(config);
  if (plannedTokens > most) {
    throw new Failure(
      "input",
      `A sequence of ${plannedTokens} tokens was planned, and this model takes at most ${most}.`,
      "Use a shorter prompt, fewer new tokens, or a model with a longer context.",
    );
  }
  return config.ropeScaling?.type === "dynamic" && plannedTokens > config.maxPositions
    ? ropeOf(config, plannedTokens)
    : decoder.rope;
}

/**
 * ids, positions [rows] -> hidden states after the last norm [rows, hidden]. Positions are below config.maxPositions,
 * unless `ropeRuns` says how the rows' sequences were planned: then below `maximumPositions`. The activations of the first
 * `checkpointedLayers` are not kept for the backward pass, which makes them again.
 */
export function decode(
  tape: Tape,
  decoder: Decoder,
  ids: Int32Array,
  positions: Int32Array,
  attend: Attend,
  ropeRuns?: readonly RopeRun[],
  checkpointedLayers = 0,
): Tensor {
  const rotation = rotationOf(tape, decoder, positions, ropeRuns);
  let x = decoder.embedding.lookup(tape, ids);
  for (const index of decoder.layers.keys()) {
    const input = x;
    watchLayer(tape, index);
    const layer = (): Tensor => decodeLayer(tape, decoder, index, input, rotation, attend);
    x = index < checkpointedLayers ? tape.checkpoint(layer) : layer();
    tape.give(input);
  }
  const out = rmsNorm(tape, x, decoder.norm, decoder.config.rmsNormEps);
  tape.give(x);
  return out;
}

/** Says that a layer begins, and once the backward pass has come back to this place, that it is done with. */
function watchLayer(tape: Tape, index: number): void {
  const { watch } = tape.pass;
  if (watch === undefined) return;
  watch.enter(index);
  tape.record([], [], () => watch.leave(index));
}

/** One layer: x [rows, hidden] -> [rows, hidden]. `x` is not given back. */
export function decodeLayer(
  tape: Tape,
  decoder: Decoder,
  index: number,
  x: Tensor,
  rotation: Rotation,
  attend: Attend,
): Tensor {
  const { config, layout } = decoder;
  const { attentionNorm, projections, headNorms, output, feedForwardNorm, gate, up, down } = decoder.layers[index]!;
  const window = windowOf(config, index);
  const attentionInput = rmsNorm(tape, x, attentionNorm, config.rmsNormEps);
  const shape = { layout, window };
  const attended = projectAndAttend(tape, index, attentionInput, projections, headNorms, shape, rotation, attend);
  const middle = output.apply(tape, attended, x);
  tape.give(attentionInput, attended);
  const feedForwardInput = rmsNorm(tape, middle, feedForwardNorm, config.rmsNormEps);
  const out = feedForward(tape, feedForwardInput, gate, up, down, middle);
  tape.give(feedForwardInput, middle);
  return out;
}

/** How rows at these positions are rotated; see `decode`. Throws a Failure for positions that the model does not have. */
export function rotationOf(tape: Tape, decoder: Decoder, positions: Int32Array, runs?: readonly RopeRun[]): Rotation {
  const { config, rope } = decoder;
  const limit = runs ? maximumPositions(config) : config.maxPositions;
  let longest = 0;
  for (const position of positions) {
    if (position < 0 || position >= limit) {
      throw new Failure(
        "input",
        `Position ${position} is outside this model's ${limit} positions.`,
        "Use a shorter prompt, fewer new tokens, or a model with a longer context.",
      );
    }
    longest = Math.max(longest, position + 1);
  }
  const covered = runs?.reduce((sum, { rows }) => sum + rows, 0) ?? positions.length;
  if (covered !== positions.length) throw new RangeError(`rope runs cover ${covered} rows of ${positions.length}`);
  if (!runs || runs.every((run) => run.rope === rope)) return { positions, tables: rope.tables(longest) };
  return {
    positions: Int32Array.from(positions, (_, row) => row),
    tables: rowTables(tape, config.headDim, positions, runs),
  };
}

/** Attention over documents packed in the rows: row r sees rows starts[r]..r. */
export function packedAttention(starts: Int32Array): Attend {
  return (tape, _layer, q, k, v, layout, window) => attention(tape, q, k, v, starts, layout, window);
}
