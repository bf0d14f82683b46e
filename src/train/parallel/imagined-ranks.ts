// Ranks that are not there: for what is counted and not run.
import type { Messages } from "../../kernels/messages.ts";
import type { Ranks } from "../ranks.ts";

/** Ranks whose exchanges go nowhere. */
export function imaginedRanks(rank: number, size: number): Ranks {
  const nothing = (): void => {};
  const messages: Messages = {
    rank,
    size,
    peers: [],
    version: "",
    start: () => 0,
    wait: nothing,
    sum: nothing,
    send: nothing,
    receive: nothing,
    counts: () => ({ bytesSent: 0, bytesReceived: 0, busySeconds: 0, waitedSeconds: 0 }),
    abort: () => {
      throw new Error("imagined ranks do not end a job");
    },
  };
  return {
    rank,
    size,
    name: `rank ${rank} of ${size}`,
    sum: nothing,
    agree: (number) => number,
    meet: nothing,
    messages,
    limitSeconds: Number.POSITIVE_INFINITY,
  };
}
