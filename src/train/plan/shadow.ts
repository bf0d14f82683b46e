// Kernels that count instead of computing. What runs over them (the same decoder, tape and optimizer as in training)
// takes the memory that training would take and makes the calls that it would make, so a prediction cannot drift from
// the code. Their arrays are real, but share one piece of memory that is hardly ever touched.
import type { Floats, Kernels } from "../../kernels/kernels.ts";

/** A kernel with arguments of certain sizes, and how often it was called. */
export interface Call {
  /** The kernel that was not run. */
  kernel: (...args: unknown[]) => unknown;
  args: readonly unknown[];
  /** Equal for calls that take equally long. */
  key: string;
  count: number;
}

export interface Shadow {
  /** Counting kernels in place of these. Numbers that they return are 0. */
  of(kernels: Kernels): Kernels;
  /** Bytes of all that was allocated so far. */
  readonly bytes: number;
  /** An array of bytes, as stored weights are; counted like floats. */
  allocateBytes(length: number): Uint8Array;
  /** The calls since the last time. */
  takeCalls(): Call[];
  /** Whether an array stands for one that training would allocate. */
  owns(array: ArrayBufferView): boolean;
}

export function createShadow(): Shadow {
  let shared = varied(1 << 20);
  const buffers = new Set<ArrayBufferLike>([shared]);
  let bytes = 0;
  let calls = new Map<string, Call>();
  let variants = 0;

  function count(length: number): ArrayBuffer {
    bytes += length;
    if (length > shared.byteLength) {
      shared = varied(Math.max(length, 2 * shared.byteLength));
      buffers.add(shared);
    }
    return shared;
  }

  function record(variant: number, name: string, kernel: Call["kernel"], args: readonly unknown[]): void {
    const key = `${variant} ${name} ${args.map(describe).join(" ")}`;
    const known = calls.get(key);
    if (known) known.count++;
    else calls.set(key, { kernel, args, key, count: 1 });
  }

  /** Lets what writes into an array be counted in place of being done, in its parts too. */
  function untouched(array: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    return Object.assign(array, {
      fill(value: number) {
        record(0, "fill", (target) => (target as Float32Array).fill(value), [array]);
        return array;
      },
      set(source: ArrayLike<number>) {
        record(0, "set", (target, from) => (target as Float32Array).set(from as Float32Array), [array, source]);
      },
      subarray: (begin?: number, end?: number): typeof array =>
        untouched(Float32Array.prototype.subarray.call(array, begin, end) as typeof array),
    });
  }

  function shadowOf(kernels: Kernels): Kernels {
    const variant = ++variants;
    const entries = Object.entries(kernels).map(([name, value]: [string, unknown]) => {
      if (name === "allocate")
        return [name, (length: number): Floats => untouched(new Float32Array(count(4 * length), 0, length))];
      if (typeof value !== "function") return [name, value];
      return [
        name,
        (...args: unknown[]): number => {
          record(variant, name, value as Call["kernel"], args);
          return 0;
        },
      ];
    });
    return Object.fromEntries(entries) as unknown as Kernels;
  }

  return {
    of: shadowOf,
    get bytes() {
      return bytes;
    },
    allocateBytes: (length) => new Uint8Array(count(length), 0, length),
    takeCalls() {
      const taken = [...calls.values()];
      calls = new Map();
      return taken;
    },
    owns: ({ buffer }) => buffers.has(buffer),
  };
}

const variedNumbers = 1 << 18;

/** Memory whose first numbers differ: what looks at them, as the choice of experts does, finds them spread. */
function varied(bytes: number): ArrayBuffer {
  const buffer = new ArrayBuffer(bytes);
  const numbers = new Float32Array(buffer, 0, Math.min(variedNumbers, Math.floor(bytes / 4)));
  let state = 1;
  for (let i = 0; i < numbers.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 32;
  }
  return buffer;
}

/** What an argument has to do with the time that a call takes: sizes, not values. */
function describe(argument: unknown): string {
  if (ArrayBuffer.isView(argument)) return `${argument.constructor.name}:${argument.byteLength}`;
  if (typeof argument === "number") return Number.isInteger(argument) ? String(argument) : "x";
  if (typeof argument === "object" && argument !== null) return `{${Object.values(argument).map(describe).join(",")}}`;
  return String(argument);
}
