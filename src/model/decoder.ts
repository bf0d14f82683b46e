// A decoder: embedding, blocks of attention and feed-forward, a last norm and an output layer.
// One forward pass for training and serving; they differ in the tape and in the attention that is passed in.
import type { HeadLayout, Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { attention, randomNormal, rmsNorm, sizeOf, tensor, type Tape, type Tensor } from "../tensor/index.ts";
import { expertsOf, windowOf, type DecoderConfig } from "./config.ts";
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
import { balanceExperts, type Balance } from "./layers/balance.ts";
import { gatedFeedForward, type DenseFeedForward, type GatedFeedForward } from "./layers/feed-forward.ts";
import { denseLinear, type Linear } from "./layers/linear.ts";
import { mixture, type Mixture } from "./layers/mixture.ts";
import { growingRope, ropeOf, rowTables, type GrowingRope, type Rope, type RopeRun } from "./layers/rope.ts";
import { maximumPositions } from "./layers/rope-scaling.ts";

export interface Layer {
  attentionNorm: Tensor;
  projections: Projections;
  /** Absent in most families. */
  headNorms: HeadNorms | undefined;
  output: Linear;
  feedForwardNorm: Tensor;
  feedForward: DenseFeedForward | Mixture;
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
  const gated = ({ gate, up, down }: Record<keyof GatedFeedForward, string>, size: number): GatedFeedForward => ({
    gate: linear(gate, size, hiddenSize, config.feedForwardBias),
    up: linear(up, size, hiddenSize, config.feedForwardBias),
    down: linear(down, hiddenSize, size, config.feedForwardBias),
  });
  const feedForward = (index: number): DenseFeedForward | Mixture => {
    const layer = names.layer(index);
    const experts = expertsOf(config, index);
    if (!experts) return { kind: "dense", ...gated(layer, intermediateSize) };
    const { router, expert } = layer;
    if (!router || !expert) throw new Error(`the family ${config.family} has no experts`);
    return {
      kind: "mixture",
      router: parts.tensor(router, [experts.count, hiddenSize]),
      experts: Array.from({ length: experts.count }, (_, each) => gated(expert(each), experts.intermediateSize)),
      perToken: experts.perToken,
      normalize: experts.normalize,
    };
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
      const { qkvBias, outputBias } = config;
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
        feedForward: feedForward(index),
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
    const { output, down, expert } = names.layer(layer);
    const experts = expertsOf(config, layer)?.count ?? 0;
    const narrowed = [output, down, ...Array.from({ length: experts }, (_, each) => expert!(each).down)];
    for (const name of narrowed) narrow.set(`${name}.weight`, scale);
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
  for (const { attentionNorm, projections, headNorms, output, feedForwardNorm, feedForward } of decoder.layers) {
    tensors.push(attentionNorm);
    add(...projections);
    tensors.push(headNorms?.q, headNorms?.k);
    add(output);
    tensors.push(feedForwardNorm);
    if (feedForward.kind === "mixture") tensors.push(feedForward.router);
    for (const { gate, up, down } of gatedOf(feedForward)) add(gate, up, down);
  }
  tensors.push(decoder.norm);
  if (!decoder.config.tieEmbeddings) add(decoder.head);
  return new Map(tensors.filter((entry) => entry !== undefined).map((entry) => [entry.name, entry]));
}

/** The feed-forward layer of a layer that has no experts. Throws Failure("usage") where it has. */
export function denseFeedForward({ feedForward, feedForwardNorm }: Layer): DenseFeedForward {
  if (feedForward.kind === "dense") return feedForward;
  throw new Failure(
    "usage",
    `The layer of ${feedForwardNorm.name} is a mixture of experts, and only dense layers can be treated in this way.`,
    "Use a model without experts.",
  );
}

/** The dense layer, or the experts. */
function gatedOf(feedForward: DenseFeedForward | Mixture): readonly GatedFeedForward[] {
  return feedForward.kind === "dense" ? [feedForward] : feedForward.experts;
}

/** Replaces linear layers of the blocks (not the output layer, and no router) in place, by what `replace` returns for each. */
export function replaceLinears(decoder: Decoder, replace: (linear: Linear) => Linear): void {
  for (const layer of decoder.layers) {
    layer.projections = layer.projections.map(replace) as unknown as Projections;
    layer.output = replace(layer.output);
    for (const gated of gatedOf(layer.feedForward)) {
      gated.gate = replace(gated.gate);
      gated.up = replace(gated.up);
      gated.down = replace(gated.down);
    }
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
  const { experts } = decoder.config;
  const { pass } = tape;
  const balancing =
    experts && pass.auxiliaryScale !== 0
      ? balanceExperts(experts.count, pass.auxiliaryScale * experts.balance)
      : undefined;
  let x = decoder.embedding.lookup(tape, ids);
  for (const index of decoder.layers.keys()) {
    const input = x;
    watchLayer(tape, index);
    const layer = (): Tensor => decodeLayer(tape, decoder, index, input, rotation, attend, balancing?.of(index));
    x = index < checkpointedLayers ? tape.checkpoint(layer) : layer();
    tape.give(input);
  }
  if (balancing) pass.auxiliaryLoss += balancing.loss();
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

/** One layer: x [rows, hidden] -> [rows, hidden]. `x` is not given back. Without `balance` loads are not balanced. */
export function decodeLayer(
  tape: Tape,
  decoder: Decoder,
  index: number,
  x: Tensor,
  rotation: Rotation,
  attend: Attend,
  balance?: Balance,
): Tensor {
  const { config, layout } = decoder;
  const { attentionNorm, projections, headNorms, output, feedForwardNorm, feedForward } = decoder.layers[index]!;
  const window = windowOf(config, index);
  const attentionInput = rmsNorm(tape, x, attentionNorm, config.rmsNormEps);
  const shape = { layout, window };
  const attended = projectAndAttend(tape, index, attentionInput, projections, headNorms, shape, rotation, attend);
  const middle = output.apply(tape, attended, x);
  tape.give(attentionInput, attended);
  const feedForwardInput = rmsNorm(tape, middle, feedForwardNorm, config.rmsNormEps);
  const out =
    feedForward.kind === "dense"
      ? gatedFeedForward(tape, feedForwardInput, feedForward, middle)
      : mixture(tape, feedForwardInput, feedForward, middle, balance);
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
