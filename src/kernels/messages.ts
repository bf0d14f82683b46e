// The typed door to the exchange between the processes of an MPI job (native/mpi_*.cpp). Not a kernel: it computes
// nothing but the sums of what is exchanged. Arguments are checked here, the memory of an exchange is held until it is
// done.
import { Failure } from "../protocol/errors.ts";
import { addon } from "./native/addon.ts";

/** A process of the job. */
export interface Peer {
  host: string;
  process: number;
}

/**
 * How a vector is dealt out to `size` ranks. `bounds` [size + 1] are the elements at which its parts begin, the last its
 * end. Ranks stand in groups of `group`, in their order; a shard is size / group parts that follow each other, and the
 * s-th rank of every group has shard s.
 */
export interface Deal {
  bounds: readonly number[];
  group: number;
}

/** Since the start. */
export interface MessageCounts {
  /** By `start`: small sums, and vectors from one rank to another, are left out. */
  bytesSent: number;
  bytesReceived: number;
  /** Seconds in which an exchange was at work, and in which this thread waited for one. */
  busySeconds: number;
  waitedSeconds: number;
}

/** The exchange of one process with the others. Every rank must ask for the same exchanges in the same order. */
export interface Messages {
  readonly rank: number;
  readonly size: number;
  readonly peers: readonly Peer[];
  /** What Open MPI says of itself. */
  readonly version: string;
  /**
   * Starts an exchange and returns its number. `vectors` together are one vector; they must not be touched before
   * `wait`. reduce: the shard that this rank has becomes its sum over all ranks, in the order of ranks. gather: the
   * ranks of a group give each other their shards.
   */
  start(exchange: "reduce" | "gather", vectors: readonly Float32Array[], deal: Deal, limitSeconds: number): number;
  /** Returns when this exchange and those before it are done. @throws Failure that names a rank that did not answer. */
  wait(exchange: number): void;
  /** Each number becomes its sum over all ranks. At most 131072 numbers. */
  sum(numbers: Float64Array, limitSeconds: number): void;
  /** One vector from one rank to another; the other calls `receive` with one as long. */
  send(vector: Float32Array, to: number, limitSeconds: number): void;
  receive(vector: Float32Array, from: number, limitSeconds: number): void;
  counts(): MessageCounts;
  /** Ends every process of the job with this exit code, this one too. */
  abort(code: number): never;
}

interface MessageAddon {
  mpiOpen(limit: number): { rank: number; size: number; version: string; peers: Peer[] };
  mpiSubmit(
    task: number,
    vectors: readonly (Float32Array | Float64Array)[],
    bounds: Float64Array,
    groupOrOther: number,
    limit: number,
  ): number;
  mpiWait(exchange: number): void;
  mpiCounts(): [number, number, number, number];
  mpiAbort(code: number): void;
}

const tasks = { reduce: 0, gather: 1, sum: 2, send: 3, receive: 4 } as const;
const mostNumbers = 131_072;
const none = new Float64Array(0);

/**
 * Joins the MPI job that this process is part of; the process leaves it when it exits. A second call gives the same.
 * @throws Failure where Open MPI is not installed, or another process does not come within the limit.
 */
export function openMessages(limitSeconds: number): Messages {
  const native = addon<MessageAddon>();
  const guarded = <Result>(work: () => Result): Result => {
    try {
      return work();
    } catch (cause) {
      const { message } = cause as Error;
      throw new Failure("environment", `The ranks of this job lost each other: ${message}.`, hintOf(message), {
        cause,
      });
    }
  };
  const { rank, size, version, peers } = guarded(() => native.mpiOpen(limitSeconds));
  const held = new Map<number, readonly (Float32Array | Float64Array)[]>();
  const submit = (
    task: keyof typeof tasks,
    vectors: readonly (Float32Array | Float64Array)[],
    bounds: Float64Array,
    groupOrOther: number,
    limit: number,
  ): number => {
    if (!(limit > 0)) throw new RangeError(`${task}: a limit of ${limit} seconds`);
    const exchange = native.mpiSubmit(tasks[task], vectors, bounds, groupOrOther, limit);
    held.set(exchange, vectors);
    return exchange;
  };
  const wait = (exchange: number): void => {
    guarded(() => native.mpiWait(exchange));
    for (const each of held.keys()) if (each <= exchange) held.delete(each);
  };
  const checkOther = (task: string, other: number): void => {
    if (!Number.isInteger(other) || other < 0 || other >= size || other === rank) {
      throw new RangeError(`${task}: rank ${other} of ${size}, from rank ${rank}`);
    }
  };
  return {
    rank,
    size,
    peers,
    version: version.split(",")[0]!,
    start(exchange, vectors, deal, limit) {
      checkDeal(exchange, vectors, deal, size);
      const bounds = Float64Array.from(deal.bounds, (bound) => bound * Float32Array.BYTES_PER_ELEMENT);
      return submit(exchange, vectors, bounds, deal.group, limit);
    },
    wait,
    sum(numbers, limit) {
      if (numbers.length > mostNumbers) throw new RangeError(`sum: ${numbers.length} numbers, at most ${mostNumbers}`);
      wait(submit("sum", [numbers], none, 0, limit));
    },
    send(vector, to, limit) {
      checkOther("send", to);
      wait(submit("send", [vector], none, to, limit));
    },
    receive(vector, from, limit) {
      checkOther("receive", from);
      wait(submit("receive", [vector], none, from, limit));
    },
    counts() {
      const [bytesSent, bytesReceived, busySeconds, waitedSeconds] = native.mpiCounts();
      return { bytesSent, bytesReceived, busySeconds, waitedSeconds };
    },
    abort(code) {
      native.mpiAbort(code);
      throw new Error("the process outlived its end");
    },
  };
}

function checkDeal(exchange: string, vectors: readonly Float32Array[], { bounds, group }: Deal, size: number): void {
  const length = vectors.reduce((sum, vector) => sum + vector.length, 0);
  if (!vectors.every((vector) => vector instanceof Float32Array)) throw new RangeError(`${exchange}: not float32`);
  if (!Number.isInteger(group) || group < 1 || size % group !== 0) {
    throw new RangeError(`${exchange}: groups of ${group} among ${size} ranks`);
  }
  const rises = bounds.every((bound, index) => Number.isInteger(bound) && bound >= (bounds[index - 1] ?? 0));
  if (bounds.length !== size + 1 || !rises || bounds[0] !== 0 || bounds.at(-1) !== length) {
    throw new RangeError(`${exchange}: bounds [${bounds.join(", ")}] over ${length} numbers and ${size} ranks`);
  }
}

function hintOf(message: string): string {
  return /not found|another MPI/.test(message)
    ? "Install Open MPI (Debian, Ubuntu: `apt install openmpi-bin`), load its module, or start without mpirun and srun."
    : "Look at what that rank wrote last; the same command goes on from the last snapshot.";
}
