// Cases of weights that are never trained: NF4, and products both ways from the bytes of files.
import { frozenBytes } from "../checks/frozen.ts";
import { blockShapes } from "../checks/products.ts";
import type { FrozenForm, FrozenScheme, FrozenWeight, Kernels, WeightScheme } from "../kernels.ts";
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";
import { anyBlocks } from "./lowbit.ts";

const blockSchemes = Object.keys(blockShapes) as WeightScheme[];
const floatSchemes = ["f32", "f16", "bf16"] as const;

type Shape = readonly [rows: number, outputs: number, inputs: number];

/** Empty, single, tails of every panel and run, several parts along each side, rows that collide, enough work for threads. */
const plainShapes: readonly Shape[] = [
  [0, 5, 32],
  [3, 0, 32],
  [3, 5, 0],
  [1, 1, 1],
  [2, 3, 7],
  [5, 33, 65],
  [4, 31, 172],
  [6, 65, 288],
  [17, 70, 1100],
  [9, 1100, 70],
  [20, 300, 512],
  [3, 2100, 33],
  [3, 33, 2100],
];
/** Likewise for blocks of 256. */
const wideShapes: readonly Shape[] = [
  [3, 5, 0],
  [1, 1, 256],
  [5, 33, 512],
  [17, 35, 1280],
];

/** A weight of any bytes, with scales of a few tenths. */
function anyWeight(outputs: number, inputs: number, scheme: FrozenScheme): FrozenWeight {
  const count = outputs * inputs;
  const random = seededNumbers(count + outputs);
  if (scheme in blockShapes) return { scheme, outputs, inputs, data: anyBlocks(count, scheme as WeightScheme) };
  if (scheme === "f32") return { scheme, outputs, inputs, data: new Uint8Array(random.floats(count).buffer) };
  const data = Uint8Array.from({ length: frozenBytes({ scheme, outputs, inputs }) }, () => random.integer(256));
  const view = new DataView(data.buffer);
  if (scheme === "nf4") {
    const factors = Math.ceil(count / 2) + Math.ceil(count / 64);
    for (let at = factors; at < data.length; at += 4) view.setFloat32(at, random.floats(1, 0.3)[0]!, true);
  } else {
    // Numbers of about 1: exponents beyond would drown the others.
    for (let at = 0; at < data.length; at += 2) {
      if (scheme === "f16") view.setFloat16(at, random.floats(1)[0]!, true);
      else view.setUint16(at, (view.getUint16(at, true) & 0x80ff) | 0x3f00, true);
    }
  }
  return { scheme, outputs, inputs, data };
}

/** The same bytes behind an odd number of others, as they may lie in a file. */
function displaced(weight: FrozenWeight): FrozenWeight {
  const bytes = new Uint8Array(weight.data.length + 3);
  bytes.set(weight.data, 3);
  return { ...weight, data: bytes.subarray(3) };
}

function product([rows, outputs, inputs]: Shape, scheme: FrozenScheme, form: FrozenForm): KernelCase {
  const weight = anyWeight(outputs, inputs, scheme);
  const [n, k] = form === "nt" ? [outputs, inputs] : [inputs, outputs];
  const random = seededNumbers(rows * 3 + outputs * 5 + inputs);
  const x = random.floats(rows * k);
  const before = random.floats(rows * n);
  return {
    name: `matmulFrozen ${scheme} ${form} [${rows}, ${outputs}, ${inputs}]`,
    tolerance: 1e-6 * Math.sqrt(k + 1),
    same: ["frozen", "displaced", "dense"],
    run(kernels) {
      const floats = new Float32Array(outputs * inputs);
      kernels.decodeFrozen(floats, weight, 0, outputs);
      const dense = before.slice();
      kernels.matmul(dense, x, floats, rows, n, k, form, false);
      kernels.matmul(dense, x, floats, rows, n, k, form, true);
      const multiply = (by: FrozenWeight): Float32Array => {
        const out = before.slice();
        kernels.matmulFrozen(out, x, by, rows, form, false);
        kernels.matmulFrozen(out, x, by, rows, form, true);
        return out;
      };
      return { dense, frozen: multiply(weight), displaced: multiply(displaced(weight)) };
    },
    alone: {
      rows: rows * n === 0 ? 0 : rows,
      run(kernels, row) {
        const frozen = before.slice(row * n, (row + 1) * n);
        for (const accumulate of [false, true]) {
          kernels.matmulFrozen(frozen, x.subarray(row * k, (row + 1) * k), weight, 1, form, accumulate);
        }
        return { frozen };
      },
    },
  };
}

function decoded(scheme: FrozenScheme, outputs: number, inputs: number): KernelCase {
  const weight = anyWeight(outputs, inputs, scheme);
  return {
    name: `decodeFrozen ${scheme} [${outputs}, ${inputs}]`,
    tolerance: 0,
    run(kernels) {
      const floats = new Float32Array(outputs * inputs);
      kernels.decodeFrozen(floats, weight, 0, outputs);
      const middle = new Float32Array(3 * inputs);
      kernels.decodeFrozen(middle, weight, 2, 3);
      return { floats, middle };
    },
  };
}

function toNf4(name: string, x: Float32Array, outputs: number): KernelCase {
  return {
    name: `quantizeNf4: ${name}`,
    tolerance: 0,
    run(kernels) {
      const weight = kernels.quantizeNf4(x, outputs, x.length / outputs);
      const back = new Float32Array(x.length);
      kernels.decodeFrozen(back, weight, 0, outputs);
      return { data: weight.data, back };
    },
  };
}

/** Blocks of zeros, of tiny and of large numbers, of one number, and the bounds between codes. */
const odd = Float32Array.from(
  { length: 6 * 64 },
  (_, i) => [0, (i % 5) * 1e-39, i * 1e30, -0.5, i % 64 === 0 ? 1 : (i % 64) / 32 - 1, NaN][Math.floor(i / 64)]!,
).subarray(0, 5 * 64);

const bytes = (length: number) => new Uint8Array(length);
const floats = (length: number) => new Float32Array(length);

function refuse(name: string, message: RegExp, run: (kernels: Kernels) => void): Refusal {
  return { name: `frozen: ${name}`, message, run };
}

const random = seededNumbers(5);
const shared = floats(64);

export const frozenCases: CaseFamily = {
  cases: [
    toNf4("seeded numbers", random.floats(300 * 288, 0.05), 300),
    toNf4("rows that share blocks", random.floats(7 * 37, 3), 7),
    toNf4("odd blocks", odd, 5),
    toNf4("one number", Float32Array.of(-3), 1),
    toNf4("nothing", floats(0), 1),
    ...(["nf4", ...floatSchemes] as const).flatMap((scheme) => [
      decoded(scheme, 40, 172),
      decoded(scheme, 37, 65),
      ...plainShapes.flatMap((shape) => (["nt", "nn"] as const).map((form) => product(shape, scheme, form))),
    ]),
    ...blockSchemes.flatMap((scheme) => [
      decoded(scheme, 9, 768),
      ...wideShapes.flatMap((shape) => (["nt", "nn"] as const).map((form) => product(shape, scheme, form))),
    ]),
    ...(["nt", "nn"] as const).map((form) => product([7, 50, 1120], "q8_0", form)),
    ...(["nt", "nn"] as const).map((form) => product([18, 1030, 512], "q4_k", form)),
  ],
  refusals: [
    refuse("an unknown scheme", /weight.scheme is 'nf5', expected one of: nf4, f32/, (kernels) =>
      kernels.decodeFrozen(floats(2), { ...anyWeight(1, 2, "nf4"), scheme: "nf5" as FrozenScheme }, 0, 1),
    ),
    refuse("inputs that fill no block", /weight.inputs is 48, expected a multiple of 32/, (kernels) =>
      kernels.decodeFrozen(floats(48), { scheme: "q8_0", outputs: 1, inputs: 48, data: bytes(51) }, 0, 1),
    ),
    refuse("data cut short", /weight.data has 36 elements, expected 41/, (kernels) =>
      kernels.matmulFrozen(
        floats(1),
        floats(64),
        { scheme: "nf4", outputs: 1, inputs: 64, data: bytes(36) },
        1,
        "nt",
        false,
      ),
    ),
    refuse("data that are no bytes", /weight.data must be a Uint8Array/, (kernels) =>
      kernels.decodeFrozen(
        floats(2),
        { scheme: "f16", outputs: 1, inputs: 2, data: new Uint16Array(2) as unknown as Uint8Array },
        0,
        1,
      ),
    ),
    refuse("rows beyond the last", /rows is 2, expected a whole number from 0 to 1/, (kernels) =>
      kernels.decodeFrozen(floats(4), anyWeight(3, 2, "nf4"), 2, 2),
    ),
    refuse("the third form", /form is 'tn', expected one of: nt, nn/, (kernels) =>
      kernels.matmulFrozen(floats(3), floats(2), anyWeight(3, 2, "f32"), 1, "tn" as FrozenForm, false),
    ),
    refuse("rows that do not match", /x has 3 elements, expected 2/, (kernels) =>
      kernels.matmulFrozen(floats(3), floats(3), anyWeight(3, 2, "f32"), 1, "nt", false),
    ),
    refuse("an output of the other form", /out has 3 elements, expected 2/, (kernels) =>
      kernels.matmulFrozen(floats(3), floats(3), anyWeight(3, 2, "f32"), 1, "nn", false),
    ),
    refuse("an output that overlaps the weight", /out shares memory with weight.data/, (kernels) =>
      kernels.decodeFrozen(
        shared.subarray(0, 2),
        { scheme: "f32", outputs: 1, inputs: 2, data: new Uint8Array(shared.buffer, 4, 8) },
        0,
        1,
      ),
    ),
    refuse("floats of another number", /quantizeNf4: weight has 3 elements, expected 4/, (kernels) =>
      kernels.quantizeNf4(floats(3), 2, 2),
    ),
  ],
};
