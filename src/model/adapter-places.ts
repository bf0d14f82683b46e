// Where an adapter's tensors for a layer lie: under the layer's own name, or, for an adapter that was trained on InternLM2
// before the model was written with q, k and v apart (a GGUF file), under InternLM2's names.
import type { DecoderConfig } from "./config.ts";
import { familyOf } from "./family.ts";
import { ggufPlaces, invertRows } from "./gguf-layout.ts";

export interface AdapterPlace {
  /** The layer's name in the adapter. */
  name: string;
  /** Rows of B there. */
  outputs: number;
  /** Row r of the layer's B is this row there; absent where they are the same. */
  rows?: Int32Array;
}

const fusedFamily = "internlm2";

/** For layers of a decoder by name, where an adapter with these layers has them; undefined: under their own names. */
export function adapterPlaces(
  config: DecoderConfig,
  adapterLayers: ReadonlySet<string>,
): ReadonlyMap<string, AdapterPlace> | undefined {
  const fused = familyOf(fusedFamily).names.layer(0);
  const { projections } = familyOf(config.family).names.layer(0);
  const isFused = [...adapterLayers].some((name) =>
    [...fused.projections, fused.output, fused.gate, fused.up, fused.down].some(
      (known) => lastPart(known) === lastPart(name),
    ),
  );
  if (projections.length === 1 || !isFused) return undefined;
  const places = new Map<string, AdapterPlace>();
  const { heads, kvHeads, headDim } = config;
  const theirs = ggufPlaces({ ...config, family: fusedFamily, qkNorm: false });
  for (const [index, ours] of ggufPlaces({ ...config, qkNorm: false }).entries()) {
    const { source, rows, shape } = theirs[index]!;
    const back = ours.rows && invertRows(ours.rows);
    places.set(withoutWeight(ours.source), {
      name: withoutWeight(source),
      outputs:
        lastPart(withoutWeight(source)) === lastPart(fused.projections[0])
          ? (heads + 2 * kvHeads) * headDim
          : shape[0]!,
      ...(rows && { rows: back ? back.map((row) => rows[row]!) : rows }),
    });
  }
  return places;
}

function withoutWeight(name: string): string {
  return name.replace(/\.weight$/, "");
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
