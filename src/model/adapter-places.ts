// Where an adapter's tensors for a layer lie: under the layer's own name, or under those of another family that the same
// model may be written as. InternLM2 has q, k and v in one layer and names of its own; a GGUF file and converted
// checkpoints have the same model as a Llama. An adapter of one fits the other exactly.
import type { DecoderConfig } from "./config.ts";
import { familyOf, type TensorNames } from "./family.ts";
import { fusedLayout } from "./layers/attention.ts";

/** A part of a layer: its rows in the model, and the layer of the adapter that changes them. */
export interface AdapterPlace {
  /** The layer's name in the adapter. */
  name: string;
  /** Rows of B there. */
  outputs: number;
  /** Row i of this part is row `rows[i]` of the model's layer, and row `source[i]` of B there; absent: row i. */
  rows?: Int32Array;
  source?: Int32Array;
}

type LayerNames = ReturnType<TensorNames["layer"]>;

const fusedFamily = "internlm2";
const splitFamily = "llama";

/** For layers of a decoder by name, where an adapter with these layers has them; undefined: under their own names. */
export function adapterPlaces(
  config: DecoderConfig,
  adapterLayers: ReadonlySet<string>,
): ReadonlyMap<string, readonly AdapterPlace[]> | undefined {
  const fused = familyOf(fusedFamily).names;
  const split = familyOf(splitFamily).names;
  const own = familyOf(config.family).names;
  const isFused = own.layer(0).projections.length === 1;
  const theirs = isFused ? split : fused;
  const known = new Set(namesOf(theirs).map(lastPart));
  const mine = new Set(namesOf(own).map(lastPart));
  const foreign = [...adapterLayers].some((name) => known.has(lastPart(name)) && !mine.has(lastPart(name)));
  if (!foreign || (!isFused && own.layer(0).gate !== split.layer(0).gate)) return undefined;

  const { heads, kvHeads, headDim } = config;
  const counts = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
  const whole = (heads + 2 * kvHeads) * headDim;
  const rows = fusedRows(config);
  const places = new Map<string, readonly AdapterPlace[]>();
  for (let index = 0; index < config.layers; index++) {
    const [ours, other] = [own.layer(index), theirs.layer(index)];
    if (isFused) {
      const parts = other.projections.map((name, i) => ({ name, outputs: counts[i]!, rows: rows[i]! }));
      places.set(ours.projections[0], parts);
    } else {
      for (const [i, name] of ours.projections.entries()) {
        places.set(name, [{ name: other.projections[0], outputs: whole, source: rows[i]! }]);
      }
    }
    const same = [
      [ours.output, other.output, config.hiddenSize],
      [ours.gate, other.gate, config.intermediateSize],
      [ours.up, other.up, config.intermediateSize],
      [ours.down, other.down, config.hiddenSize],
    ] as const;
    for (const [name, there, outputs] of same) places.set(name, [{ name: there, outputs }]);
  }
  places.set(own.head, [{ name: theirs.head, outputs: config.vocabSize }]);
  return places;
}

function namesOf(names: TensorNames): string[] {
  const { projections, output, gate, up, down }: LayerNames = names.layer(0);
  return [...projections, output, gate, up, down];
}

/** The rows of q, of k and of v within those of the fused projection. */
function fusedRows(config: DecoderConfig): [q: Int32Array, k: Int32Array, v: Int32Array] {
  const { heads, kvHeads, headDim } = config;
  const layout = fusedLayout(config);
  const group = heads / kvHeads;
  const rows = (count: number, firstRow: (head: number) => number) =>
    Int32Array.from({ length: count * headDim }, (_, row) => firstRow(Math.floor(row / headDim)) + (row % headDim));
  return [
    rows(heads, (head) => layout.qOffset + Math.floor(head / group) * layout.qGroupStride + (head % group) * headDim),
    rows(kvHeads, (head) => layout.kOffset + head * layout.kHeadStride),
    rows(kvHeads, (head) => layout.vOffset + head * layout.vHeadStride),
  ];
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
