// What training on many ranks would take of memory, bytes and time, reckoned without them: the same optimizer and the
// same dealing out as in training run over kernels that count, and exchanges go through a model of the wire.
import { loadKernels } from "../../kernels/index.ts";
import { runShadow, type ShadowRun, type TrainingShape } from "../plan/shape.ts";
import type { Bucket, DealtParameter } from "./deal.ts";

/** The way from one rank to another. */
export interface Link {
  bytesPerSecond: number;
  /** Of a message. */
  latencySeconds: number;
}

/** What a rank sends in a step, of vectors. */
export interface SentVectors {
  bytes: number;
  messages: number;
}

export interface ScaleTimes {
  /** Passes of a rank: its share of the step's batches. */
  passSeconds: number;
  updateSeconds: number;
  /** Exchanges of gradients, and how much of them is left after the passes are done. */
  exchangeSeconds: number;
  exposedSeconds: number;
  /** The new weights, where moments are dealt out. */
  gatherSeconds: number;
  stepSeconds: number;
}

/** Bytes of a message at most, as native/mpi_exchange.cpp has it: fewer where they go to many ranks at the same time. */
const messageBytesFor = (size: number): number => Math.min(2 ** 20, Math.max(2 ** 16, 64 * Math.floor(2 ** 19 / size)));
const floatBytes = Float32Array.BYTES_PER_ELEMENT;
/** A batch's backward pass takes twice its forward pass. */
const backwardShare = 2 / 3;

/** A rank's run over kernels that count: its memory, and what it exchanges. */
export function shadowOfRank(shape: TrainingShape, rank: number, size: number, zero: number): ShadowRun {
  return runShadow(loadKernels(), { ...shape, ranks: { rank, size }, zero });
}

/** Bytes of the buffers that messages go through. What Open MPI itself takes is with the process, once it is open. */
export function exchangeMemory(buckets: readonly Pick<Bucket<DealtParameter>, "deal">[], size: number): number {
  const longest = Math.max(0, ...buckets.map(({ deal }) => longestPart(deal.bounds)));
  return 2 * size * Math.min(messageBytesFor(size), longest * floatBytes);
}

/** What a rank sends in a step for one bucket, of gradients and then of weights. */
export function sentForBucket(
  { deal: { bounds, group } }: Pick<Bucket<DealtParameter>, "deal">,
  rank: number,
): { gradients: SentVectors; weights: SentVectors } {
  const size = bounds.length - 1;
  const copies = size / group;
  const own = (rank % group) * copies + Math.floor(rank / group);
  const lengths = Array.from({ length: size }, (_, part) => floatBytes * (bounds[part + 1]! - bounds[part]!));
  const others = lengths.filter((_, part) => part !== own);
  const shard = lengths.slice((rank % group) * copies, ((rank % group) + 1) * copies).reduce((a, b) => a + b, 0);
  const messagesOf = (bytes: number): number => Math.ceil(bytes / messageBytesFor(size));
  const gradients = {
    bytes: others.reduce((sum, bytes) => sum + bytes, 0) + (copies - 1) * lengths[own]!,
    messages: others.reduce((sum, bytes) => sum + messagesOf(bytes), 0) + (copies - 1) * messagesOf(lengths[own]!),
  };
  return { gradients, weights: { bytes: (group - 1) * shard, messages: (group - 1) * messagesOf(shard) } };
}

/** What a rank sends in a step, in all. */
export function sentInStep(buckets: readonly Pick<Bucket<DealtParameter>, "deal">[], rank: number): SentVectors {
  const sent: SentVectors = { bytes: 0, messages: 0 };
  for (const bucket of buckets) {
    for (const { bytes, messages } of Object.values(sentForBucket(bucket, rank))) {
      sent.bytes += bytes;
      sent.messages += messages;
    }
  }
  return sent;
}

/**
 * The time of a step of rank 0. `passSeconds` is one batch forward and backward, `updateSeconds` the update of all that is
 * trained, on the threads of a rank. In the last batch's backward pass layers take time as they have parameters; a bucket
 * goes on its way when its last layer is done and the bucket before it has arrived.
 */
export function timeOfStep(
  buckets: readonly Bucket<DealtParameter>[],
  batches: number,
  {
    passSeconds,
    updateSeconds,
    ranks,
    zero,
    link,
  }: {
    passSeconds: number;
    updateSeconds: number;
    ranks: number;
    zero: number;
    link: Link;
  },
): ScaleTimes {
  const own = Math.ceil(batches / ranks);
  const allPasses = own * passSeconds;
  const backward = backwardShare * passSeconds;
  const secondsFor = ({ bytes, messages }: SentVectors): number =>
    bytes / link.bytesPerSecond + messages * link.latencySeconds;
  const total = buckets.reduce((sum, bucket) => sum + lengthOf(bucket), 0);
  let [done, arrived, exchangeSeconds, gatherSeconds] = [0, 0, 0, 0];
  for (const bucket of buckets) {
    done += lengthOf(bucket);
    const ready = allPasses - backward + (backward * done) / total;
    const { gradients, weights } = sentForBucket(bucket, 0);
    arrived = Math.max(arrived, ready) + secondsFor(gradients);
    exchangeSeconds += secondsFor(gradients);
    gatherSeconds += secondsFor(weights);
  }
  const exposedSeconds = Math.max(0, arrived - allPasses);
  const update = updateSeconds / zero;
  return {
    passSeconds: allPasses,
    updateSeconds: update,
    exchangeSeconds,
    exposedSeconds,
    gatherSeconds,
    stepSeconds: allPasses + exposedSeconds + update + gatherSeconds,
  };
}

function lengthOf({ parameters }: Bucket<DealtParameter>): number {
  return parameters.reduce((sum, { data }) => sum + data.length, 0);
}

function longestPart(bounds: readonly number[]): number {
  return bounds.reduce((most, bound, index) => Math.max(most, bound - (bounds[index - 1] ?? 0)), 0);
}
