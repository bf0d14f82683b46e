// Cases of the kernels that work row by row.
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

/** [rows, columns]: tails on either side of 16 and 64, one row, one column, none, and enough for several threads. */
const shapes = [
  [0, 5],
  [1, 1],
  [1, 320],
  [3, 16],
  [5, 17],
  [7, 63],
  [4, 65],
  [65, 40],
  [130, 33],
  [300, 321],
  [2, 20001],
] as const;

function rmsNorm(rows: number, dim: number): KernelCase {
  const random = seededNumbers(rows * 31 + dim);
  const x = random.floats(rows * dim, 3);
  const weight = random.floats(dim);
  const dy = random.floats(rows * dim);
  const before = random.floats(rows * dim);
  const dweightBefore = random.floats(dim);
  return {
    name: `rmsNorm [${rows}, ${dim}]`,
    tolerance: 1e-5,
    run(kernels) {
      const y = new Float32Array(rows * dim);
      const rstd = new Float32Array(rows);
      kernels.rmsNorm(y, rstd, x, weight, rows, dim, 1e-5);
      const dx = new Float32Array(rows * dim);
      const dweight = dweightBefore.slice();
      kernels.rmsNormBackward(dx, dweight, dy, x, weight, rstd, rows, dim, false);
      const added = before.slice();
      kernels.rmsNormBackward(added, undefined, dy, x, weight, rstd, rows, dim, true);
      return { y, rstd, dx, dweight, added };
    },
    alone: {
      rows,
      run(kernels, row) {
        const y = new Float32Array(dim);
        const rstd = new Float32Array(1);
        const part = x.subarray(row * dim, (row + 1) * dim);
        kernels.rmsNorm(y, rstd, part, weight, 1, dim, 1e-5);
        const dx = new Float32Array(dim);
        kernels.rmsNormBackward(
          dx,
          undefined,
          dy.subarray(row * dim, (row + 1) * dim),
          part,
          weight,
          rstd,
          1,
          dim,
          false,
        );
        return { y, rstd, dx };
      },
    },
  };
}

function rope(rows: number, headDim: number, kvHeads: number, group: number): KernelCase {
  const random = seededNumbers(rows * 7 + headDim);
  // A fused projection: the group's query heads, then a key and a value that must stay as they are.
  const groupStride = (group + 2) * headDim;
  const shape = { heads: kvHeads * group, headDim, stride: kvHeads * groupStride + 3, offset: 3, group, groupStride };
  const x = random.floats(rows * shape.stride);
  const angles = random.floats((9 * headDim) / 2, 20);
  const cos = angles.map(Math.cos);
  const sin = angles.map(Math.sin);
  const positions = Int32Array.from({ length: rows }, () => random.integer(9));
  return {
    name: `rope [${rows}, ${kvHeads} x ${group} x ${headDim}]`,
    tolerance: 1e-6,
    run(kernels) {
      const forth = x.slice();
      kernels.rope(forth, positions, cos, sin, shape, false);
      const back = x.slice();
      kernels.rope(back, positions, cos, sin, shape, true);
      return { forth, back };
    },
    alone: {
      rows,
      run(kernels, row) {
        const forth = x.slice(row * shape.stride, (row + 1) * shape.stride);
        kernels.rope(forth, positions.subarray(row, row + 1), cos, sin, shape, false);
        return { forth };
      },
    },
  };
}

function swiglu(count: number): KernelCase {
  const random = seededNumbers(count);
  const gate = random.floats(count, 12);
  const up = random.floats(count);
  const dout = random.floats(count);
  // Where exp overflows and underflows.
  gate.set([-200, 200, -90, 90, 0].slice(0, count));
  return {
    name: `swiglu [${count}]`,
    tolerance: 1e-6,
    run(kernels) {
      const out = new Float32Array(count);
      kernels.swiglu(out, gate, up);
      const inPlace = gate.slice();
      kernels.swiglu(inPlace, inPlace, up);
      const dgate = new Float32Array(count);
      const dup = new Float32Array(count);
      kernels.swigluBackward(dgate, dup, dout, gate, up);
      return { out, inPlace, dgate, dup };
    },
    alone: {
      rows: count,
      run(kernels, row) {
        const out = new Float32Array(1);
        const dgate = new Float32Array(1);
        const dup = new Float32Array(1);
        const [g, u, d] = [gate, up, dout].map((array) => array.subarray(row, row + 1)) as [
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        kernels.swiglu(out, g, u);
        kernels.swigluBackward(dgate, dup, d, g, u);
        return { out, dgate, dup };
      },
    },
  };
}

function embedding(rows: number, dim: number): KernelCase {
  const random = seededNumbers(rows + dim * 13);
  const vocab = 7;
  const table = random.floats(vocab * dim);
  const dout = random.floats(rows * dim);
  const ids = Int32Array.from({ length: rows }, () => random.integer(vocab));
  return {
    name: `embedding [${rows}, ${dim}]`,
    tolerance: 1e-6,
    run(kernels) {
      const out = new Float32Array(rows * dim);
      kernels.embedding(out, table, ids, dim);
      const dtable = table.slice();
      kernels.embeddingBackward(dtable, dout, ids, dim);
      return { out, dtable };
    },
  };
}

function crossEntropy(rows: number, vocab: number): KernelCase {
  const random = seededNumbers(rows * 3 + vocab);
  const logits = random.floats(rows * vocab, 10);
  const targets = Int32Array.from({ length: rows }, (_, row) => (row % 5 === 3 ? -100 : random.integer(vocab)));
  const gradientScale = 0.125;
  return {
    name: `crossEntropy [${rows}, ${vocab}]`,
    tolerance: 2e-6,
    run(kernels) {
      const losses = new Float32Array(rows).fill(NaN);
      const gradients = logits.slice();
      kernels.crossEntropy(losses, gradients, targets, vocab, gradientScale);
      const lossesOnly = new Float32Array(rows).fill(NaN);
      const untouched = logits.slice();
      kernels.crossEntropy(lossesOnly, untouched, targets, vocab, 0);
      return { losses, gradients, lossesOnly, untouched };
    },
    alone: {
      rows,
      run(kernels, row) {
        const losses = new Float32Array(1);
        const gradients = logits.slice(row * vocab, (row + 1) * vocab);
        kernels.crossEntropy(losses, gradients, targets.subarray(row, row + 1), vocab, gradientScale);
        return { losses, gradients };
      },
    },
  };
}

/** A logit that is not a number: the loss of its row says so, and no other row's. */
function brokenLogit(): KernelCase {
  const vocab = 40;
  const logits = seededNumbers(5).floats(3 * vocab);
  logits[vocab + 33] = NaN;
  return {
    name: "crossEntropy with NaN in it",
    tolerance: 2e-6,
    run(kernels) {
      const losses = new Float32Array(3);
      const gradients = logits.slice();
      kernels.crossEntropy(losses, gradients, Int32Array.of(1, 2, 3), vocab, 1);
      return { losses, gradients };
    },
  };
}

const four = (): Float32Array => new Float32Array(4);
const ropeShape = { heads: 1, headDim: 4, stride: 4, offset: 0, group: 1, groupStride: 0 };

const refusals: Refusal[] = [
  {
    name: "rmsNorm of fewer numbers than rows x dim",
    run: (kernels) => kernels.rmsNorm(four(), new Float32Array(2), four(), four(), 2, 4, 1e-5),
    message: /rmsNorm: y has 4 elements, expected 8/,
  },
  {
    name: "rmsNormBackward with a short dweight",
    run: (kernels) =>
      kernels.rmsNormBackward(four(), new Float32Array(3), four(), four(), four(), new Float32Array(1), 1, 4, false),
    message: /rmsNormBackward: dweight has 3 elements, expected 4/,
  },
  {
    name: "rmsNorm of mixed widths",
    run: (kernels) => kernels.rmsNorm(four(), new Float32Array(1), new Float64Array(4), four(), 1, 4, 1e-5),
    message: /rmsNorm: x holds float64/,
  },
  {
    name: "rope at a position beyond its tables",
    run: (kernels) => kernels.rope(four(), Int32Array.of(2), four(), four(), ropeShape, false),
    message: /rope: positions\[0\] is 2, expected 0 <= value < 2/,
  },
  {
    name: "rope of heads beyond the row",
    run: (kernels) => kernels.rope(four(), Int32Array.of(0), four(), four(), { ...ropeShape, offset: 1 }, false),
    message: /rope: heads of x end at element 5 of a row of 4/,
  },
  {
    name: "rope of an odd head",
    run: (kernels) => kernels.rope(four(), Int32Array.of(0), four(), four(), { ...ropeShape, headDim: 3 }, false),
    message: /rope: headDim is 3, expected an even number/,
  },
  {
    name: "swiglu of unequal lengths",
    run: (kernels) => kernels.swiglu(four(), four(), new Float32Array(5)),
    message: /swiglu: up has 5 elements, expected 4/,
  },
  {
    name: "swigluBackward of unequal lengths",
    run: (kernels) => kernels.swigluBackward(four(), new Float32Array(3), four(), four(), four()),
    message: /swigluBackward: dup has 3 elements, expected 4/,
  },
  {
    name: "embedding of an id behind the table",
    run: (kernels) => kernels.embedding(four(), four(), Int32Array.of(0, 2), 2),
    message: /embedding: ids\[1\] is 2, expected 0 <= value < 2/,
  },
  {
    name: "embeddingBackward of a negative id",
    run: (kernels) => kernels.embeddingBackward(four(), four(), Int32Array.of(0, -1), 2),
    message: /embeddingBackward: ids\[1\] is -1/,
  },
  {
    name: "crossEntropy with a target outside the vocabulary",
    run: (kernels) => kernels.crossEntropy(new Float32Array(1), four(), Int32Array.of(4), 4, 1),
    message: /crossEntropy: targets\[0\] is 4/,
  },
  {
    name: "crossEntropy with a scale that is no number",
    run: (kernels) => kernels.crossEntropy(new Float32Array(1), four(), Int32Array.of(3), 4, NaN),
    message: /crossEntropy: gradientScale is NaN/,
  },
];

export const rowCases: CaseFamily = {
  cases: [
    ...shapes.map(([rows, dim]) => rmsNorm(rows, dim)),
    ...[
      [0, 4, 1, 1],
      [1, 2, 1, 1],
      [3, 8, 2, 4],
      [5, 34, 3, 1],
      [9, 64, 5, 1],
      [200, 64, 2, 3],
    ].map(([rows, headDim, kvHeads, group]) => rope(rows!, headDim!, kvHeads!, group!)),
    ...[0, 1, 15, 16, 17, 50001].map(swiglu),
    ...shapes.map(([rows, dim]) => embedding(rows, dim)),
    ...shapes.map(([rows, vocab]) => crossEntropy(rows, vocab)),
    brokenLogit(),
  ],
  refusals,
};
