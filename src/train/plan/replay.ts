// How long recorded calls take: each different one is made again, a few times, on numbers of its own.
import type { Call, Shadow } from "./shadow.ts";

/** Memory through which calls go in turn, so that they do not find their numbers in the caches. */
const ringBytes = 96 * 2 ** 20;
const alignment = 64;
/** A call is made again until it has taken so long, or so often. */
const enoughMilliseconds = 6;
const mostRuns = 5;

/** Milliseconds of all the calls, each by the median of a few runs. */
export interface Replay extends Disposable {
  milliseconds(calls: readonly Call[]): number;
}

export function createReplay(shadow: Shadow): Replay {
  let ring = filled(ringBytes);
  let place = 0;
  const known = new Map<string, number>();

  /** Makes room for all arguments of one call, which must not lie in each other. */
  function reserve(bytes: number): void {
    if (bytes > ring.byteLength) ring = filled(bytes);
    if (place + bytes > ring.byteLength) place = 0;
  }

  function room(bytes: number): number {
    const begin = place;
    place += Math.ceil(bytes / alignment) * alignment;
    return begin;
  }

  /** The argument with arrays of its own in place of the shadow's. */
  function real(argument: unknown): unknown {
    if (ArrayBuffer.isView(argument)) {
      if (!shadow.owns(argument)) return argument;
      const begin = room(argument.byteLength);
      if (argument instanceof Float32Array) return new Float32Array(ring, begin, argument.length);
      if (argument instanceof Uint16Array) return new Uint16Array(ring, begin, argument.length);
      return new Uint8Array(ring, begin, argument.byteLength);
    }
    if (typeof argument !== "object" || argument === null) return argument;
    return Object.fromEntries(Object.entries(argument).map(([key, value]) => [key, real(value)]));
  }

  function measure({ kernel, args }: Call): number {
    const needed = args.reduce<number>((sum, argument) => sum + bytesOf(argument), 0);
    const times: number[] = [];
    let total = 0;
    while (times.length < mostRuns && (times.length < 2 || total < enoughMilliseconds)) {
      reserve(needed);
      const own = args.map(real);
      const started = performance.now();
      kernel(...own);
      const took = performance.now() - started;
      total += took;
      times.push(took);
      // Long calls need no second opinion.
      if (took > 20 * enoughMilliseconds) break;
    }
    // The first run of short calls warms up what is not the data's.
    const counted = times.length > 2 ? times.slice(1) : times;
    counted.sort((a, b) => a - b);
    return counted[(counted.length - 1) >> 1]!;
  }

  return {
    milliseconds(calls) {
      let sum = 0;
      for (const call of calls) {
        const { key, count } = call;
        let each = known.get(key);
        if (each === undefined) known.set(key, (each = measure(call)));
        sum += count * each;
      }
      return sum;
    },
    [Symbol.dispose]() {
      // Given back now and not when the collector comes by.
      ring = ring.transfer(0);
    },
  };
}

function bytesOf(argument: unknown): number {
  if (ArrayBuffer.isView(argument)) return Math.ceil(argument.byteLength / alignment) * alignment;
  if (typeof argument !== "object" || argument === null) return 0;
  return Object.values(argument).reduce<number>((sum, value) => sum + bytesOf(value), 0);
}

/** Memory full of small numbers of both signs. */
function filled(bytes: number): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes);
  const floats = new Float32Array(buffer);
  const pattern = Math.min(floats.length, 4099);
  for (let i = 0; i < pattern; i++) floats[i] = 0.05 * Math.sin(i * 12.9898);
  for (let done = pattern; done < floats.length; done *= 2)
    floats.copyWithin(done, 0, Math.min(done, floats.length - done));
  return buffer;
}
