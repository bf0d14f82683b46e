// Calibration: runs the float model over a text layer by layer, and finds for each layer the scaling of columns with
// which 4-bit rounding changes the layer's output least. The scaling is folded into the norm or projection before, so
// that the float model stays the same. Also tells how much each column's errors weigh, for the encoders.
import type { Kernels } from "../../kernels/kernels.ts";
import { type Decoder, denseFeedForward, denseLinear, type Layer, type Linear } from "../../model/index.ts";
import type { Job } from "../../protocol/job.ts";
import { createTape, swiglu, type Tape, tensor, type Tensor } from "../../tensor/index.ts";
import type { HeldOutBatch } from "../held-out.ts";
import type { Rounding } from "./rounding.ts";
import { emptyLinear, type HiddenBatch, type LinearPlace, runLayer } from "./run-layer.ts";
import { exponents, scaleColumns, smoothingScales, weightImportance } from "./smoothing.ts";

/** What calibration says of one matrix or norm, by its name in the checkpoint. */
export interface Adjustment {
  /** [columns]: what they are multiplied by. */
  columns?: Float32Array;
  /** [rows], or the numbers of a norm or bias: what they are divided by. */
  rows?: Float32Array;
  /** [columns]: how much an error of the (scaled) column weighs, the mean square of what it meets. */
  importance?: Float32Array;
  /** [samples, columns]: some of what the (scaled) columns meet. */
  inputs?: Float32Array;
}

export interface LayerScaling {
  layer: number;
  /** "attention", "feed-forward" or "down". */
  part: string;
  /** The exponent that was chosen; absent where no scaling was better. */
  exponent?: number;
  /** Mean square error of the output, over that without scaling. */
  gain: number;
}

export interface Calibration {
  adjustments: Map<string, Adjustment>;
  scalings: LayerScaling[];
}

/** Rows on which candidates are compared. */
const searchRows = 512;

/** `decoder` is dense. Its weights are left as they are. */
export async function* calibrate(
  kernels: Kernels,
  decoder: Decoder,
  batches: readonly HeldOutBatch[],
  rounding: Rounding,
  signal: AbortSignal,
): Job<Calibration> {
  const adjustments = new Map<string, Adjustment>();
  const scalings: LayerScaling[] = [];
  using tape = createTape(kernels, { recording: false });
  const width = decoder.config.hiddenSize;
  let states = batches.map(({ ids, positions, starts }): HiddenBatch => {
    const hidden = Float32Array.from(decoder.embedding.lookup(tape, ids).data);
    tape.reset();
    return { hidden, positions, starts };
  });
  let sample = headOf(states, searchRows, width);
  const startedAt = performance.now();
  for (const [index, layer] of decoder.layers.entries()) {
    const activations = new Map<LinearPlace, { sums: Float64Array; squares: Float64Array; rows: number }>();
    const after: Float32Array[] = [];
    for (const state of states) {
      signal.throwIfAborted();
      const onInput = (place: LinearPlace, x: Tensor) => gather(activations, place, x);
      after.push(runLayer(tape, decoder, index, state, { onInput }));
    }
    const inputs = new Map<LinearPlace, Float32Array>();
    const sampleAfter = runLayer(tape, decoder, index, sample, {
      onInput: (place, x) => inputs.set(place, Float32Array.from(x.data)),
    });
    scalings.push(...searchLayer(tape, decoder, index, sample, activations, inputs, rounding, adjustments));
    for (const [place, linears] of linearsOf(layer)) {
      const { squares, rows } = activations.get(place)!;
      const raw = inputs.get(place)!;
      // The linear layers of a place share one scaling.
      const columns = adjustments.get(`${linears[0]!.name}.weight`)?.columns;
      const importance = Float32Array.from(squares, (square, i) => square / rows / (columns ? columns[i]! ** 2 : 1));
      const scaled = columns ? scaleColumns(raw, columns, true) : raw;
      for (const { name } of linears) merge(adjustments, `${name}.weight`, { importance, inputs: scaled });
    }
    states = states.map(({ positions, starts }, i) => ({ positions, starts, hidden: after[i]! }));
    sample = { positions: sample.positions, starts: sample.starts, hidden: sampleAfter };
    const done = index + 1;
    const seconds = (performance.now() - startedAt) / 1000;
    const total = decoder.layers.length;
    const metrics = { secondsLeft: Math.round((seconds / done) * (total - done)) };
    yield { type: "progress", step: "calibrate", done, total, unit: "layers", metrics };
  }
  return { adjustments, scalings };
}

/** The first whole pieces of text of at most `rows` rows, or the beginning of the first. */
function headOf([first]: readonly HiddenBatch[], rows: number, width: number): HiddenBatch {
  const count = Math.min(rows, first!.positions.length);
  return {
    hidden: first!.hidden.slice(0, count * width),
    positions: first!.positions.slice(0, count),
    starts: first!.starts.slice(0, count),
  };
}

function gather(
  activations: Map<LinearPlace, { sums: Float64Array; squares: Float64Array; rows: number }>,
  place: LinearPlace,
  x: Tensor,
): void {
  const columns = x.shape.at(-1)!;
  const known = activations.get(place) ?? {
    sums: new Float64Array(columns),
    squares: new Float64Array(columns),
    rows: 0,
  };
  activations.set(place, known);
  const { sums, squares } = known;
  const { data } = x;
  for (let row = 0; row < data.length; row += columns, known.rows++) {
    for (let i = 0; i < columns; i++) {
      const value = data[row + i]!;
      sums[i]! += Math.abs(value);
      squares[i]! += value * value;
    }
  }
}

function linearsOf(layer: Layer): [LinearPlace, readonly Linear[]][] {
  const { projections, output } = layer;
  const { gate, up, down } = denseFeedForward(layer);
  return [
    ["projections", projections],
    ["output", [output]],
    ["gate", [gate]],
    ["up", [up]],
    ["down", [down]],
  ];
}

/** Chooses the scalings of one layer's three places, and adds them to `adjustments`. */
function searchLayer(
  tape: Tape,
  decoder: Decoder,
  index: number,
  sample: HiddenBatch,
  activations: ReadonlyMap<LinearPlace, { sums: Float64Array; rows: number }>,
  inputs: ReadonlyMap<LinearPlace, Float32Array>,
  rounding: Rounding,
  adjustments: Map<string, Adjustment>,
): LayerScaling[] {
  const layer = decoder.layers[index]!;
  const rows = sample.positions.length;
  const meanOf = (place: LinearPlace) => {
    const { sums, rows: seen } = activations.get(place)!;
    return sums.map((sum) => sum / seen);
  };
  const dense = denseFeedForward(layer);
  const empty = {
    feedForward: {
      kind: "dense",
      gate: emptyLinear(dense.gate.name, dense.gate.inputs),
      up: emptyLinear(dense.up.name, dense.up.inputs),
      down: emptyLinear(dense.down.name, 1),
    },
  } as const;
  const inputOf = (place: LinearPlace) => {
    const data = inputs.get(place)!;
    return tensor(data, [rows, data.length / rows], place);
  };
  const feedForward = (gate: Linear, up: Linear): Float32Array => {
    const x = inputOf("gate");
    const product = swiglu(tape, gate.apply(tape, x), up.apply(tape, x));
    const out = Float32Array.from(dense.down.apply(tape, product).data);
    tape.reset();
    return out;
  };
  const candidates: {
    part: string;
    place: LinearPlace;
    linears: readonly Linear[];
    /** What is divided by the scales: a norm, or the rows of a layer. */
    folded: string[];
    run: (linears: readonly Linear[]) => Float32Array;
  }[] = [
    {
      part: "attention",
      place: "projections",
      linears: layer.projections,
      folded: [layer.attentionNorm.name],
      run: (linears) =>
        runLayer(tape, decoder, index, sample, {
          layer: { ...layer, ...empty, projections: linears as unknown as Layer["projections"] },
        }),
    },
    {
      part: "feed-forward",
      place: "gate",
      linears: [dense.gate, dense.up],
      folded: [layer.feedForwardNorm.name],
      run: ([gate, up]) => feedForward(gate!, up!),
    },
    {
      part: "down",
      place: "down",
      linears: [dense.down],
      folded: [`${dense.up.name}.weight`, ...(dense.up.bias ? [dense.up.bias.name] : [])],
      run([down]) {
        const out = Float32Array.from(down!.apply(tape, inputOf("down")).data);
        tape.reset();
        return out;
      },
    },
  ];
  const divisible = candidates.filter(({ linears }) => linears[0]!.inputs % rounding.groupSize === 0);
  return divisible.map(({ part, place, linears, folded, run }) => {
    const weights = linears.map(({ weight }) => weight!.data as Float32Array);
    const columns = linears[0]!.inputs;
    const expected = run(linears);
    const lossOf = (scales: Float32Array | undefined) => {
      const rounded = linears.map(({ bias }, i) => {
        const scaled = scales ? scaleColumns(weights[i]!, scales) : weights[i]!;
        const out = new Float32Array(scaled.length);
        rounding.round(out, scaled);
        const data = scales ? scaleColumns(out, scales, true) : out;
        return denseLinear(tensor(data, linears[i]!.weight!.shape, linears[i]!.weight!.name), bias);
      });
      return meanSquare(expected, run(rounded));
    };
    const plain = lossOf(undefined);
    const importance = weightImportance(weights, columns, rounding.groupSize);
    const means = meanOf(place);
    let best: { scales: Float32Array; exponent: number } | undefined;
    let least = plain;
    for (const exponent of exponents) {
      const scales = smoothingScales(means, importance, exponent);
      const loss = lossOf(scales);
      if (loss < least) {
        least = loss;
        best = { scales, exponent };
      }
    }
    if (best) {
      for (const { name } of linears) merge(adjustments, `${name}.weight`, { columns: best.scales });
      for (const name of folded) merge(adjustments, name, { rows: best.scales });
    }
    return { layer: index, part, ...(best && { exponent: best.exponent }), gain: plain === 0 ? 1 : least / plain };
  });
}

function merge(adjustments: Map<string, Adjustment>, name: string, more: Adjustment): void {
  adjustments.set(name, { ...adjustments.get(name), ...more });
}

function meanSquare(x: Float32Array, y: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i]! - y[i]!) ** 2;
  return sum / x.length;
}
