// Kernels that count instead of computing. What runs over them (the same decoder, tape and optimizer as in training)
// takes the memory that training would take and makes the calls that it would make, so a prediction cannot drift from
// the code. Their arrays are real, but share one piece of memory that is hardly ever touched.
import type { Floats, Kernels } from "../../kernels/kernels.ts";

/** A kernel with arguments of certain sizes, and how often it was called. */
export interface Call {
  name: keyof Kernels;
  args: readonly unknown[];
  /** Equal for calls that take equally long. */
  key: string;
  count: number;
}

export interface Shadow {
  readonly kernels: Kernels;
  /** Bytes of all that was allocated so far. */
  readonly bytes: number;
  /** An array of bytes, as stored weights are; counted like floats. */
  allocateBytes(length: number): Uint8Array;
  /** The calls since the last time. */
  takeCalls(): Call[];
  /** Whether an array stands for one that training would allocate. */
  owns(array: ArrayBufferView): boolean;
}

/** Counting kernels with the properties of `like`. Numbers that they return are 0. */
export function createShadow(like: Kernels): Shadow {
  let shared = new ArrayBuffer(1 << 20);
  const buffers = new Set<ArrayBufferLike>([shared]);
  let bytes = 0;
  let calls = new Map<string, Call>();

  function count(length: number): ArrayBuffer {
    bytes += length;
    if (length > shared.byteLength) {
      shared = new ArrayBuffer(Math.max(length, 2 * shared.byteLength));
      buffers.add(shared);
    }
    return shared;
  }

  const kernels = Object.fromEntries(
    Object.entries(like).map(([name, value]: [string, unknown]) => {
      if (typeof value !== "function") return [name, value];
      if (name === "allocate") return [name, (length: number): Floats => new Float32Array(count(4 * length), 0, length)];
      return [
        name,
        (...args: unknown[]): number => {
          const key = `${name} ${args.map(describe).join(" ")}`;
          const known = calls.get(key);
          if (known) known.count++;
          else calls.set(key, { name: name as keyof Kernels, args, key, count: 1 });
          return 0;
        },
      ];
    }),
  ) as unknown as Kernels;

  return {
    kernels,
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

/** What an argument has to do with the time that a call takes: sizes, not values. */
function describe(argument: unknown): string {
  if (ArrayBuffer.isView(argument)) return `${argument.constructor.name}:${argument.byteLength}`;
  if (typeof argument === "number") return Number.isInteger(argument) ? String(argument) : "x";
  if (typeof argument === "object" && argument !== null) return `{${Object.values(argument).map(describe).join(",")}}`;
  return String(argument);
}
