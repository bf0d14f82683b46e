// The nearest orthogonal matrix, roughly: Newton and Schulz's iteration with the quintic coefficients of K. Jordan
// ("Muon", 2024). Singular values end near 1, between about 0.7 and 1.2, which is all that Muon needs.
import type { Floats, Kernels } from "../../kernels/kernels.ts";

/** Coefficients of x -> a x + b x^3 + c x^5, chosen by Jordan so that small singular values grow fast. */
const [a, b, c] = [3.4445, -4.775, 2.0315];
const iterations = 5;

/** Scratch for one matrix shape; made once. */
export interface Orthogonalizer {
  /** Overwrites `matrix` [rows, columns] with an approximately orthogonal one. */
  run(matrix: Floats): void;
}

export function createOrthogonalizer(kernels: Kernels, rows: number, columns: number): Orthogonalizer {
  // The Gram matrix is taken over the shorter side.
  const wide = rows <= columns;
  const side = Math.min(rows, columns);
  const gram = kernels.allocate(side * side);
  const square = kernels.allocate(side * side);
  const next = kernels.allocate(rows * columns);
  return {
    run(matrix) {
      const norm = Math.sqrt(kernels.sumSquares(matrix));
      kernels.addScaled(matrix, matrix, 1 / (norm + 1e-7), false);
      for (let i = 0; i < iterations; i++) {
        if (wide) kernels.matmul(gram, matrix, matrix, side, side, columns, "nt", false);
        else kernels.matmul(gram, matrix, matrix, side, side, rows, "tn", false);
        kernels.matmul(square, gram, gram, side, side, side, "nn", false);
        // square = b gram + c gram^2
        kernels.addScaled(square, square, c, false);
        kernels.addScaled(square, gram, b, true);
        kernels.addScaled(next, matrix, a, false);
        if (wide) kernels.matmul(next, square, matrix, rows, columns, side, "nn", true);
        else kernels.matmul(next, matrix, square, rows, columns, side, "nn", true);
        matrix.set(next);
      }
    },
  };
}
