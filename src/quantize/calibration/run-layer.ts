// One layer of a decoder, run alone on hidden states, with a look at what goes into and comes out of its linear layers.
import {
  type Decoder,
  decodeLayer,
  denseFeedForward,
  type Layer,
  type Linear,
  packedAttention,
  rotationOf,
} from "../../model/index.ts";
import type { Tape, Tensor } from "../../tensor/index.ts";

/** Rows of packed pieces of text: hidden states before a layer, and where each row stands. */
export interface HiddenBatch {
  /** [rows, hidden] */
  hidden: Float32Array;
  positions: Int32Array;
  /** [rows]: the row at which the piece starts. */
  starts: Int32Array;
}

export type LinearPlace = "projections" | "output" | "gate" | "up" | "down";

/**
 * Runs layer `index` of a decoder, or `layer` in its place, and returns the hidden states after it, [rows, hidden].
 * `onInput` is shown the input of linear layers; the three projections share one. The tape is reset.
 */
export function runLayer(
  tape: Tape,
  decoder: Decoder,
  index: number,
  { hidden, positions, starts }: HiddenBatch,
  {
    layer = decoder.layers[index]!,
    onInput,
  }: { layer?: Layer; onInput?: (place: LinearPlace, x: Tensor) => void } = {},
): Float32Array {
  const watch = (place: LinearPlace, linear: Linear): Linear => ({
    ...linear,
    apply(inner, x, residual) {
      onInput?.(place, x);
      return linear.apply(inner, x, residual);
    },
  });
  const [first, ...others] = layer.projections;
  const { gate, up, down } = denseFeedForward(layer);
  const watched: Layer = {
    ...layer,
    projections: [watch("projections", first), ...others] as unknown as Layer["projections"],
    output: watch("output", layer.output),
    feedForward: { kind: "dense", gate: watch("gate", gate), up: watch("up", up), down: watch("down", down) },
  };
  const layers = decoder.layers.with(index, watched);
  const x = tape.take([positions.length, decoder.config.hiddenSize], "hidden");
  x.data.set(hidden);
  const rotation = rotationOf(tape, decoder, positions);
  const out = decodeLayer(tape, { ...decoder, layers }, index, x, rotation, packedAttention(starts));
  const after = Float32Array.from(out.data);
  tape.reset();
  return after;
}

/** Stands for a linear layer that is left out: its output of one column is zero, or the residual alone. */
export function emptyLinear(name: string, inputs: number): Linear {
  return {
    name,
    outputs: 1,
    inputs,
    weight: undefined,
    apply(tape, x, residual) {
      const rows = x.data.length / inputs;
      const y = tape.take(residual ? residual.shape : [rows, 1], name);
      if (residual) y.data.set(residual.data);
      else y.data.fill(0);
      return y;
    },
  };
}
