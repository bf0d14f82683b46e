// What the ranks of a run exchange every step: gradients, bucket by bucket while the backward pass goes on, and where
// moments are dealt out (ZeRO-1; Rajbhandari et al., arXiv 1910.02054) the new weights.
import type { Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import type { LayerWatch, Tensor } from "../../tensor/index.ts";
import type { Exchange, Range, Ranks } from "../ranks.ts";
import { dealParameters, rangeWithin, shardOf } from "./deal.ts";

export interface ExchangeOptions {
  /** Consecutive ranks that share one set of moments; 1: each has all (no ZeRO). */
  zeroGroup: number;
  /** Parameters that one rank must update whole. */
  whole: ReadonlySet<Tensor>;
  /** Parameters used after the last layer alone. */
  afterLayers: ReadonlySet<Tensor | undefined>;
  /** Bytes of gradients that are exchanged together, at least. Default `defaultBucketBytes`. */
  bucketBytes?: number | undefined;
}

/** Long enough that starting an exchange costs nothing, short enough to overlap. */
const defaultBucketBytes = 4 << 20;

/** Undefined where there is nobody to exchange with. Throws a Failure where groups do not fill the ranks. */
export function createExchange(
  kernels: Kernels,
  ranks: Ranks,
  parameters: readonly Tensor[],
  { zeroGroup, whole, afterLayers, bucketBytes = defaultBucketBytes }: ExchangeOptions,
): Exchange | undefined {
  const { messages, limitSeconds, rank, size } = ranks;
  checkGroup(zeroGroup, size);
  if (messages === undefined) return undefined;
  const bucketLength = bucketBytes / Float32Array.BYTES_PER_ELEMENT;
  const buckets = dealParameters(parameters, { ranks: size, group: zeroGroup, bucketLength, whole, afterLayers });
  const shard = rank % zeroGroup;
  const places = new Map(
    buckets.flatMap((bucket) => bucket.parameters.map((parameter, index) => [parameter, { bucket, index }] as const)),
  );
  const rangeOf = (parameter: Tensor, of: number): Range => {
    const { bucket, index } = places.get(parameter)!;
    return rangeWithin(bucket, index, shardOf(bucket, of));
  };
  const squares = piecesOf(buckets, parameters, size, zeroGroup);

  /** Buckets of this step that are on their way. */
  let sent = 0;
  let lastStarted = -1;
  const entered = new Map<number, number>();
  const left = new Map<number, number>();
  const send = (): void => {
    const { parameters: members, deal } = buckets[sent++]!;
    for (const parameter of members) {
      // Nothing of this rank's batches reached it: an expert that no token chose.
      if (!parameter.hasGrad) parameter.grad!.fill(0);
      parameter.hasGrad = true;
    }
    lastStarted = messages.start(
      "reduce",
      members.map((member) => member.grad as Float32Array),
      deal,
      limitSeconds,
    );
  };
  const watch: LayerWatch = {
    enter(layer) {
      if (sent > 0) throw new Error("a pass runs forward again after gradients of it were sent");
      entered.set(layer, (entered.get(layer) ?? 0) + 1);
    },
    leave(layer) {
      const count = (left.get(layer) ?? 0) + 1;
      left.set(layer, count);
      // Where a pass goes through a layer more than once, its gradients are final with the last time back.
      if (count < entered.get(layer)!) return;
      while (sent < buckets.length && buckets[sent]!.readyAt >= layer) send();
    },
  };

  return {
    buckets,
    begin(tape) {
      entered.clear();
      left.clear();
      tape.pass.watch = watch;
    },
    finish(tape) {
      tape.pass.watch = undefined;
      while (sent < buckets.length) send();
      sent = 0;
      messages.wait(lastStarted);
    },
    own: (parameter) => rangeOf(parameter, shard),
    gradientNorm(step) {
      const sums = new Float64Array(squares.length);
      for (const [index, { parameter, begin, end, owner }] of squares.entries()) {
        if (owner === rank) sums[index] = kernels.sumSquares(parameter.grad!.subarray(begin, end));
      }
      ranks.sum(sums);
      const broken = squares.find((_, index) => !Number.isFinite(sums[index]));
      if (broken !== undefined) {
        throw new Failure(
          "numeric",
          `Step ${step}: the gradient of ${broken.parameter.name} is not finite.`,
          "Lower the learning rate, lengthen the warm-up, or look at the data of this step.",
        );
      }
      return Math.sqrt(sums.reduce((sum, part) => sum + part, 0));
    },
    sumOwned(numbers) {
      // The groups have the same shards: the first speaks for all.
      if (rank >= zeroGroup) numbers.fill(0);
      ranks.sum(numbers);
    },
    shareWeights() {
      if (zeroGroup === 1) return;
      let last = -1;
      for (const { parameters: members, deal } of buckets) {
        last = messages.start(
          "gather",
          members.map((member) => member.data as Float32Array),
          deal,
          limitSeconds,
        );
      }
      messages.wait(last);
    },
    collect(parameter, owned) {
      if (rank >= zeroGroup) return undefined;
      if (rank > 0) {
        if (owned.length > 0) messages.send(owned as Float32Array, 0, limitSeconds);
        return undefined;
      }
      if (zeroGroup === 1) return owned;
      const all = new Float32Array(parameter.data.length);
      for (let from = 0; from < zeroGroup; from++) {
        const { begin, end } = rangeOf(parameter, from);
        if (from === 0) all.set(owned, begin);
        else if (begin < end) messages.receive(all.subarray(begin, end), from, limitSeconds);
      }
      return all;
    },
  };
}

function checkGroup(zeroGroup: number, size: number): void {
  if (Number.isInteger(zeroGroup) && zeroGroup >= 1 && size % zeroGroup === 0) return;
  if (size === 1) {
    throw new Failure(
      "usage",
      `--zero ${zeroGroup}: this process trains alone, and has nobody to share its moments with.`,
      "Start it under mpirun or srun, or leave out --zero.",
    );
  }
  throw new Failure(
    "usage",
    `--zero ${zeroGroup}: groups of ${zeroGroup} do not fill ${size} ranks.`,
    `Choose a number that divides ${size}; ${size} deals the moments out to all.`,
  );
}

interface Piece extends Range {
  parameter: Tensor;
  /** The rank that sums its squares. */
  owner: number;
}

/**
 * The pieces whose squares are summed one by one, in the order of parameters: cut as buckets are for the ranks, but never
 * as they are for groups, so that the norm does not depend on those. A parameter that is updated whole is one piece.
 */
function piecesOf(
  buckets: ReturnType<typeof dealParameters<Tensor>>,
  parameters: readonly Tensor[],
  size: number,
  group: number,
): Piece[] {
  const replicas = size / group;
  const pieces = new Map<Tensor, Piece[]>();
  for (const bucket of buckets) {
    const { bounds } = bucket.deal;
    for (const [index, parameter] of bucket.parameters.entries()) {
      const found: Piece[] = [];
      for (let part = 0; part < size; part++) {
        const range = rangeWithin(bucket, index, { begin: bounds[part]!, end: bounds[part + 1]! });
        if (range.begin === range.end) continue;
        const owner = (part % replicas) * group + Math.floor(part / replicas);
        found.push({ parameter, ...range, owner });
      }
      pieces.set(
        parameter,
        bucket.whole ? [{ parameter, begin: 0, end: parameter.data.length, owner: found[0]!.owner }] : found,
      );
    }
  }
  return parameters.flatMap((parameter) => pieces.get(parameter)!);
}
