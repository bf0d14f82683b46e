// Which processes train together: none but this one, or the ranks that mpirun or srun has started.
import { writeSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { machine, setThreads } from "../../kernels/index.ts";
import { openMessages } from "../../kernels/messages.ts";
import { ranksOfEnvironment } from "../../kernels/rank-environment.ts";
import { exitCodes, Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import { alone, type Ranks } from "../ranks.ts";

/** Seconds without a word from a rank after which it is given up: longer than a step of any model that fits a machine. */
const defaultLimitSeconds = 600;
/** How much longer ranks wait where rank 0 may have work of its own: evaluations, writing. */
const patience = 24;
/** How long a rank with an error waits for rank 0 to tell the same one. */
const courtesyMs = 1500;

/**
 * The ranks of this process's job; `alone` outside mpirun and srun, and for a job of one. Kernels of this process get the
 * threads that are its share of the machine, unless LIANLU_THREADS says how many.
 * LIANLU_MPI_TIMEOUT: seconds without a word from a rank after which it is given up.
 */
export function openRanks(environment: NodeJS.ProcessEnv = process.env): Ranks {
  const expected = ranksOfEnvironment(environment);
  if (expected.size <= 1) return alone;
  const limitSeconds = limitOf(environment["LIANLU_MPI_TIMEOUT"]);
  const messages = openMessages(limitSeconds);
  const { rank, size, peers } = messages;
  if (size !== expected.size) {
    throw new Failure(
      "environment",
      `${expected.size} processes were started, and Open MPI joins ${size} of them.`,
      "Start them with the mpirun of the same Open MPI, or under Slurm with `srun --mpi=pmix`.",
    );
  }
  const neighbours = peers.filter(({ host }) => host === peers[rank]!.host).length;
  if (!environment["LIANLU_THREADS"]) setThreads(threadsOfRank(availableParallelism(), cpus().length, neighbours));
  const sum = (numbers: Float64Array): void => messages.sum(numbers, limitSeconds);
  return {
    rank,
    size,
    name: `rank ${rank} of ${size} (host ${peers[rank]!.host}, process ${process.pid})`,
    messages,
    limitSeconds,
    sum,
    agree(number) {
      const numbers = Float64Array.of(rank === 0 ? number : 0);
      sum(numbers);
      return numbers[0]!;
    },
    meet: () => messages.sum(new Float64Array(0), limitSeconds * patience),
  };
}

function limitOf(setting: string | undefined): number {
  if (setting === undefined || setting === "") return defaultLimitSeconds;
  const seconds = Number(setting);
  if (Number.isFinite(seconds) && seconds > 0) return seconds;
  throw new Failure("usage", `LIANLU_MPI_TIMEOUT is '${setting}', and a number of seconds is expected.`);
}

/**
 * Threads for one rank of a machine: the processors that it is bound to, if it has them for itself, else its share of
 * those. `allowed` may be used by this process, of `present`; `neighbours` ranks are on this machine.
 */
export function threadsOfRank(allowed: number, present: number, neighbours: number): number {
  const bound = allowed * neighbours <= present && allowed < present;
  return Math.min(256, Math.max(1, bound ? allowed : Math.floor(allowed / neighbours)));
}

/**
 * Runs a job on all ranks of this process's MPI job. Events of rank 0 alone come through. An error ends all ranks, after
 * words that say whose it is and where; what every rank is told to do (an abort) is thrown by each.
 */
export async function* onRanks<Result>(work: (ranks: Ranks) => Job<Result>): Job<Result> {
  const ranks = openRanks();
  let place = "before its first step";
  const shares = watchExchange(ranks);
  const job = work(ranks);
  try {
    if (ranks.messages !== undefined && ranks.rank === 0) yield { type: "note", text: describeRanks(ranks) };
    for (;;) {
      const { done, value } = await job.next();
      if (done) {
        const text = shares.describe();
        if (text !== undefined && ranks.rank === 0) yield { type: "note", text };
        return value;
      }
      if (value.type === "progress" && value.unit === "steps") {
        place = `after step ${value.done}`;
        shares.step(value.done);
      }
      if (ranks.rank === 0) yield value;
    }
  } catch (error) {
    if (!(error instanceof Error && error.name === "AbortError")) endRanks(ranks, error, place);
    throw error;
  } finally {
    await job.return(undefined as Result);
  }
}

function describeRanks({ messages, size, rank }: Ranks): string {
  const { peers, version } = messages!;
  const hosts = new Set(peers.map(({ host }) => host)).size;
  const { threads } = machine();
  const neighbours = peers.filter(({ host }) => host === peers[rank]!.host).length;
  const idle = cpus().length - threads * neighbours;
  const bound = idle > 0 ? ` ${idle} processors of this machine stay idle: see mpirun's --bind-to none.` : "";
  return (
    `${size} ranks on ${hosts} ${hosts === 1 ? "machine" : "machines"}, ${threads} ${threads === 1 ? "thread" : "threads"} each` +
    ` (${version}).${bound}`
  );
}

/** What the exchange cost, from the end of the first step that this process trains. */
function watchExchange({ messages }: Ranks): { step(number: number): void; describe(): string | undefined } {
  const now = (number: number) => ({ number, at: performance.now() / 1000, ...messages!.counts() });
  let first: ReturnType<typeof now> | undefined;
  let last: ReturnType<typeof now> | undefined;
  return {
    step(number) {
      if (messages === undefined) return;
      last = now(number);
      first ??= last;
    },
    describe() {
      if (first === undefined || last === undefined || last.number === first.number) return undefined;
      const seconds = last.at - first.at;
      const share = (from: number, to: number): string => `${((100 * (to - from)) / seconds).toFixed(1)}%`;
      const sent = (last.bytesSent - first.bytesSent) / (last.number - first.number) / 1e6;
      return (
        `The exchange: rank 0 sent ${sent.toFixed(3)} MB a step. Exchanges were under way for ` +
        `${share(first.busySeconds, last.busySeconds)} of the time; ${share(first.waitedSeconds, last.waitedSeconds)} of the time was spent waiting for them.`
      );
    },
  };
}

/**
 * Says whose error it is and ends all ranks, since the others wait for this one. An error that every rank has alike is
 * told by rank 0 alone: it is the first to speak, and ends the others.
 */
function endRanks(ranks: Ranks, error: unknown, place: string): void {
  const { messages } = ranks;
  if (messages === undefined) return;
  if (ranks.rank > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, courtesyMs);
  const failure = error instanceof Failure ? error : undefined;
  const text = failure?.message ?? (error instanceof Error ? error.stack : String(error));
  const hint = failure?.hint === undefined ? "" : `\n${failure.hint}`;
  // Written at once: the process ends with the next line.
  writeSync(2, `lianlu: ${ranks.name} ends the job ${place}: ${text}${hint}\n`);
  messages.abort(failure === undefined ? 1 : exitCodes[failure.kind]);
}
