// How the trained numbers are dealt out to ranks: buckets that are exchanged together, in the order in which their
// gradients become final, and within each the range that a rank keeps the moments of. Arithmetic only.
import type { Deal } from "../../kernels/messages.ts";
import type { Range } from "../ranks.ts";

/** What dealing must know of a parameter. */
export interface DealtParameter {
  /** By its name its layer is known: "...layers.3...". */
  readonly name: string;
  readonly data: { readonly length: number };
}

export interface Bucket<Parameter extends DealtParameter> {
  parameters: readonly Parameter[];
  /** The first element of each parameter in the bucket. */
  offsets: readonly number[];
  /** Whether a parameter is updated whole, by one rank of a group. */
  whole: boolean;
  /** The layer with whose backward pass the last gradient becomes final; -1: with the end of the pass. */
  readyAt: number;
  deal: Deal;
}

export interface DealOptions<Parameter> {
  ranks: number;
  /** Ranks that share one set of moments; it divides `ranks`. 1: each has all. */
  group: number;
  /** Elements of a bucket before the next is begun. */
  bucketLength: number;
  /** Updated whole. */
  whole: ReadonlySet<Parameter>;
  /** Used after the last layer alone (the last norm, an output layer that is not tied): final before any layer is. */
  afterLayers: ReadonlySet<Parameter | undefined>;
}

/** Parts begin at multiples of this many elements of their bucket: a cache line. */
const partStep = 16;

/** Puts parameters into buckets and deals each out. The sums over ranks do not depend on how that is done. */
export function dealParameters<Parameter extends DealtParameter>(
  parameters: readonly Parameter[],
  { ranks, group, bucketLength, whole, afterLayers }: DealOptions<Parameter>,
): Bucket<Parameter>[] {
  const layerOf = (parameter: Parameter): number => {
    if (afterLayers.has(parameter)) return Number.POSITIVE_INFINITY;
    const found = /\blayers\.(\d+)\./.exec(parameter.name);
    return found === null ? -1 : Number(found[1]);
  };
  const layers = [...new Set(parameters.map(layerOf))].sort((a, b) => b - a);
  const last = layers.find((layer) => Number.isFinite(layer)) ?? -1;
  const buckets: Bucket<Parameter>[] = [];
  const open: Record<"true" | "false", Parameter[]> = { true: [], false: [] };
  const close = (key: "true" | "false", readyAt: number): void => {
    const members = open[key];
    if (members.length === 0) return;
    open[key] = [];
    const lengths = members.map(({ data }) => data.length);
    const offsets = lengths.map((_, index) => lengths.slice(0, index).reduce((sum, length) => sum + length, 0));
    const isWhole = key === "true";
    const bounds = isWhole
      ? boundsOfWhole(lengths, ranks, group)
      : boundsOfEqual(0, offsets.at(-1)! + lengths.at(-1)!, ranks);
    buckets.push({ parameters: members, offsets, whole: isWhole, readyAt, deal: { bounds, group } });
  };
  let readyAt = last;
  for (const layer of layers) {
    // What is final only at the end keeps nothing else waiting.
    if (layer === -1) for (const key of ["true", "false"] as const) close(key, readyAt);
    readyAt = Math.min(layer, last);
    for (const parameter of parameters) {
      if (layerOf(parameter) !== layer) continue;
      open[whole.has(parameter) ? "true" : "false"].push(parameter);
    }
    for (const key of ["true", "false"] as const) {
      if (open[key].reduce((sum, { data }) => sum + data.length, 0) >= bucketLength) close(key, readyAt);
    }
  }
  for (const key of ["true", "false"] as const) close(key, readyAt);
  return buckets;
}

/** Bounds of as many parts as equal as they can be; the last one is the end. */
function boundsOfEqual(begin: number, end: number, parts: number): number[] {
  const step = Math.ceil((end - begin) / parts / partStep) * partStep;
  return Array.from({ length: parts + 1 }, (_, part) => Math.min(begin + part * step, end));
}

/** Shards of whole parameters, as equal as the order allows; the parts of a shard cut them as they come. */
function boundsOfWhole(lengths: readonly number[], ranks: number, group: number): number[] {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const shards = [0];
  let end = 0;
  for (const length of lengths) {
    const before = end;
    end += length;
    // The shard ends where it comes nearest to its share.
    while (shards.length < group && end >= (total * shards.length) / group) {
      const share = (total * shards.length) / group;
      shards.push(share - before < end - share ? before : end);
    }
  }
  while (shards.length <= group) shards.push(total);
  shards[group] = total;
  const bounds = [0];
  for (let shard = 0; shard < group; shard++) {
    bounds.push(...boundsOfEqual(shards[shard]!, shards[shard + 1]!, ranks / group).slice(1));
  }
  return bounds;
}

/** The elements of a bucket that the `shard`-th rank of each group has. */
export function shardOf({ deal: { bounds, group } }: Pick<Bucket<DealtParameter>, "deal">, shard: number): Range {
  const parts = (bounds.length - 1) / group;
  return { begin: bounds[shard * parts]!, end: bounds[(shard + 1) * parts]! };
}

/** Which elements of its `index`-th parameter lie in a range of the bucket; begin = end where none do. */
export function rangeWithin(bucket: Bucket<DealtParameter>, index: number, { begin, end }: Range): Range {
  const offset = bucket.offsets[index]!;
  const { length } = bucket.parameters[index]!.data;
  const clamp = (at: number): number => Math.min(Math.max(at - offset, 0), length);
  return { begin: clamp(begin), end: clamp(end) };
}
