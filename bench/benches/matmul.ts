// Matrix products: float32 beside PyTorch, alone and at the shapes of a training step; weights of 8 and 4 bits at 1, 8 and
// 512 rows. Each with its share of what this machine does at most in arithmetic or in reading, measured beside it.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type EncodedScheme, loadKernels, type MatmulForm, measurePeak, setThreads } from "../../src/kernels/index.ts";
import { defineBench, median, milliseconds, row, takeTurns, type BenchContext, type Row } from "../harness.ts";
import { pythonWithTorch, startPython, torchMissing, type PythonPeer } from "../python-peer.ts";

interface Product {
  name: string;
  form: MatmulForm;
  m: number;
  n: number;
  k: number;
}

const trainingRows = 2048;
/** Outputs and inputs of the weights of the decoder in train.ts: attention's three, its output, feed-forward, the head. */
const trainingWeights = [
  [960, 320],
  [320, 320],
  [864, 320],
  [320, 864],
  [4096, 320],
] as const;

const products: Product[] = [
  ...[256, 1024].flatMap((size) =>
    (["nn", "nt", "tn"] as const).map((form) => ({ name: `f32 ${form} ${size}`, form, m: size, n: size, k: size })),
  ),
  ...trainingWeights.flatMap(([outputs, inputs]): Product[] => {
    const name = `${trainingRows} rows x ${outputs} x ${inputs}`;
    return [
      { name: `f32 forward ${name}`, form: "nt", m: trainingRows, n: outputs, k: inputs },
      { name: `f32 input gradient ${name}`, form: "nn", m: trainingRows, n: inputs, k: outputs },
      { name: `f32 weight gradient ${name}`, form: "tn", m: outputs, n: inputs, k: trainingRows },
    ];
  }),
];

/** Outputs and inputs of low-bit weights: far more than any cache holds; and of a layer, for many rows. */
const lowBitProducts = [
  { rows: 1, outputs: 8192, inputs: 16384 },
  { rows: 8, outputs: 8192, inputs: 16384 },
  { rows: 512, outputs: 2048, inputs: 2048 },
];
const blockBytes: Record<EncodedScheme, number> = { q8_0: 34, q4_0: 18 };

const turns = 9;
/** Calls are repeated until a measurement takes about this long. */
const measurementMs = 30;
/** PyTorch's threads spin for a while after a product; they must not spin into ours. */
const restMs = 30;

export default defineBench({
  async *rows(context) {
    const kernels = loadKernels();
    const wanted = products.filter(({ name }) => context.wants(name));
    const python = wanted.length > 0 ? pythonWithTorch() : undefined;
    if (wanted.length > 0 && python === undefined) context.note(torchMissing);
    for (const threads of context.threads) {
      const script = join(import.meta.dirname, "../peers/matmul.py");
      const peer = python === undefined ? undefined : await startPython(python, script, [String(threads)]);
      for (const product of wanted) yield await measureProduct(product, threads, peer);
      peer?.close();
    }
    yield* lowBitRows(context);

    async function measureProduct({ name, form, m, n, k }: Product, threads: number, peer?: PythonPeer): Promise<Row> {
      const [a, b, out] = [filled(m * k), filled(n * k), kernels.allocate(m * n)];
      const operations = 2 * m * n * k;
      setThreads(threads);
      const run = (): void => kernels.matmul(out, a, b, m, n, k, form, false);
      const repeats = repeatsFor(run);
      const subjects: (() => number | Promise<number>)[] = [() => repeated(run, repeats)];
      if (peer) {
        subjects.push(async () => {
          const ms = Number(await peer.ask(`${form} ${m} ${n} ${k} ${repeats}`));
          await sleep(restMs);
          return ms;
        });
      }
      const [own, other] = await takeTurns(subjects, turns);
      return row(name, threads, operations / own! / 1e6, "GFLOP/s", {
        peer: peer ? `PyTorch ${peer.ready}` : null,
        peerValue: other === undefined ? null : operations / other / 1e6,
        limit: measurePeak("f32", threads),
      });
    }
  },
});

async function* lowBitRows({ threads, wants }: BenchContext): AsyncGenerator<Row> {
  const kernels = loadKernels();
  for (const scheme of ["q4_0", "q8_0"] as const) {
    for (const { rows, outputs, inputs } of lowBitProducts) {
      const name = `${scheme} ${rows} ${rows === 1 ? "row" : "rows"} x ${outputs} x ${inputs}`;
      if (!wants(name)) continue;
      const blocks = new Uint8Array(((outputs * inputs) / 32) * blockBytes[scheme]);
      // A scale of 2^-14 in half precision, and weights of every kind.
      for (let i = 0; i < blocks.length; i++) blocks[i] = i % blockBytes[scheme] < 2 ? 4 : (i * 7) & 255;
      const weight = kernels.packQuantized(blocks, outputs, inputs, scheme);
      const [x, out] = [filled(rows * inputs), kernels.allocate(rows * outputs)];
      const run = (): void => kernels.matmulPacked(out, x, weight, rows);
      const [operations, bytes] = [2 * rows * outputs * inputs, weight.data.byteLength];
      for (const count of threads) {
        setThreads(count);
        const repeats = repeatsFor(run);
        const times = Array.from({ length: turns }, () => repeated(run, repeats));
        const ms = median(times);
        if (rows === 1) {
          yield row(name, count, bytes / ms / 1e6, "GB/s", { limit: measurePeak("memory", count) });
          continue;
        }
        // Weights that no cache holds must be read while they are multiplied.
        const cached = bytes < 2 ** 24;
        const read = cached ? Infinity : (measurePeak("memory", count) * operations) / bytes;
        const limit = Math.min(measurePeak("int8", count), read);
        yield row(name, count, operations / ms / 1e6, "GOP/s", { limit });
      }
    }
  }
}

function filled(length: number) {
  const numbers = loadKernels().allocate(length);
  for (let i = 0; i < length; i++) numbers[i] = ((i * 37) % 101) / 50 - 1;
  return numbers;
}

/** How often to call for one measurement, at least once. */
function repeatsFor(run: () => void): number {
  run();
  return Math.max(1, Math.round(measurementMs / Math.max(milliseconds(run), 1e-3)));
}

/** Milliseconds of one call, after one that does not count (as the peer does it): the other's data is out of the cache. */
function repeated(run: () => void, repeats: number): number {
  run();
  return (
    milliseconds(() => {
      for (let i = 0; i < repeats; i++) run();
    }) / repeats
  );
}
