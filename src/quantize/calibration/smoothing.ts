// Activation-aware scaling (AWQ): columns that meet large activations are enlarged before they are rounded, and what
// feeds them is made smaller by as much, so that the float model stays the same.

/** The exponents that are tried. */
export const exponents = Array.from({ length: 20 }, (_, i) => i / 20);

/**
 * Importance of a matrix's columns by its weights: the mean over rows of |w| over the largest |w| of its group. [columns]
 * Source: AWQ as LMDeploy runs it.
 */
export function weightImportance(matrices: readonly Float32Array[], columns: number, groupSize: number): Float64Array {
  const sums = new Float64Array(columns);
  let rows = 0;
  for (const matrix of matrices) {
    for (let row = 0; row < matrix.length; row += columns, rows++) {
      for (let group = 0; group < columns; group += groupSize) {
        let largest = 0;
        for (let i = row + group; i < row + group + groupSize; i++) {
          const size = Math.abs(matrix[i]!);
          if (size > largest) largest = size;
        }
        if (largest === 0) continue;
        for (let i = group; i < group + groupSize; i++) sums[i]! += Math.abs(matrix[row + i]!) / largest;
      }
    }
  }
  return sums.map((sum) => sum / rows);
}

/** Scales of columns s = clamp(activation^a / importance^(1 - a), 1e-4), over sqrt(max s min s). */
export function smoothingScales(
  activations: ArrayLike<number>,
  importance: ArrayLike<number>,
  exponent: number,
): Float32Array {
  const scales = Float32Array.from(activations, (activation, i) =>
    Math.max(1e-4, activation ** exponent / Math.max(1e-8, importance[i]!) ** (1 - exponent)),
  );
  const middle = Math.sqrt(
    scales.reduce((most, scale) => Math.max(most, scale)) * scales.reduce((least, scale) => Math.min(least, scale)),
  );
  return scales.map((scale) => scale / middle);
}

/** Multiplies columns by `scales`, or divides them by. */
export function scaleColumns(matrix: Float32Array, scales: Float32Array, divide = false): Float32Array {
  const columns = scales.length;
  const out = new Float32Array(matrix.length);
  for (let row = 0; row < matrix.length; row += columns) {
    for (let i = 0; i < columns; i++)
      out[row + i] = divide ? matrix[row + i]! / scales[i]! : matrix[row + i]! * scales[i]!;
  }
  return out;
}
