// The search for the scale (and the least number) of a run of numbers that is to be stored in a few bits: the choice that
// loses least, in weighted squares. Deterministic: a fixed row of candidates, the first best one is taken.

/**
 * What candidates of a search make of the range, over what plain rounding does: finely around 1, to cut off the largest
 * numbers or to spare them, and coarsely below, since numbers that were few levels once are exact again at the right scale.
 */
const shares = Array.from({ length: 19 }, (_, i) => 1 + (i - 9) / 80);
shares.push(0.8125, 0.75, 0.6875, 0.65, 0.625, 0.5625, 0.5);

/**
 * A scale s for x ~ s q with q from -levels / 2 to levels / 2 - 1 (ties upwards). Each candidate maps the number of
 * largest magnitude near to -levels / 2, and is replaced by the least-squares scale of the q that it gives.
 * Reads `count` numbers of x from `from`, and of `weights` from 0.
 */
export function searchScale(
  x: Float32Array,
  from: number,
  count: number,
  weights: Float64Array,
  levels: number,
): number {
  let peak = 0;
  for (let j = from; j < from + count; j++) if (Math.abs(x[j]!) > Math.abs(peak)) peak = x[j]!;
  if (!(Math.abs(peak) >= smallest)) return Number.isNaN(peak) ? NaN : 0;
  const half = levels / 2;
  let best = 0;
  let bestGain = -1;
  for (const share of shares) {
    const inverse = (-half * share) / peak;
    let product = 0;
    let squares = 0;
    for (let j = 0; j < count; j++) {
      const number = x[from + j]!;
      let q = ((number * inverse + half + 1.5) | 0) - half - 1;
      if (q < -half) q = -half;
      else if (q > half - 1) q = half - 1;
      const weighted = weights[j]! * q;
      product += weighted * number;
      squares += weighted * q;
    }
    const gain = squares > 0 ? (product * product) / squares : 0;
    if (gain > bestGain) {
      bestGain = gain;
      best = squares > 0 ? product / squares : 0;
    }
  }
  return best;
}

/** Numbers that are all smaller count as zero: their inverse would leave the range in which products are finite. */
const smallest = 1e-30;

export interface Affine {
  scale: number;
  /** What is taken from scale q. */
  offset: number;
}

/**
 * Scale s and offset m for x ~ s q - m with q from 0 to levels - 1. With `noNegativeOffset` m is at least 0, as the K types
 * store it. Each candidate divides the range a little finer or coarser, and is replaced by the least-squares fit of the q
 * that it gives. The result is written to `out`.
 */
export function searchAffine(
  out: Affine,
  x: Float32Array,
  from: number,
  count: number,
  weights: Float64Array,
  levels: number,
  noNegativeOffset: boolean,
): void {
  let low = x[from]!;
  let high = low;
  let sumWeights = 0;
  let sumX = 0;
  for (let j = 0; j < count; j++) {
    const number = x[from + j]!;
    if (number < low) low = number;
    if (number > high) high = number;
    sumWeights += weights[j]!;
    sumX += weights[j]! * number;
  }
  if (noNegativeOffset && low > 0) low = 0;
  out.scale = 0;
  out.offset = -low;
  if (!(high - low >= smallest)) return;
  const top = levels - 1;
  let bestLoss = Infinity;
  for (const share of shares) {
    const inverse = (top * share) / (high - low);
    let sumQ = 0;
    let sumQQ = 0;
    let sumXQ = 0;
    for (let j = 0; j < count; j++) {
      const number = x[from + j]!;
      let q = ((number - low) * inverse + 0.5) | 0;
      if (q > top) q = top;
      const weighted = weights[j]! * q;
      sumQ += weighted;
      sumQQ += weighted * q;
      sumXQ += weighted * number;
    }
    const determinant = sumWeights * sumQQ - sumQ * sumQ;
    // All q are the same where it is nearly 0, and only a scale can be fitted.
    const fits = determinant > 1e-9 * sumWeights * sumQQ;
    if (!(sumQQ > 0) || (!fits && !noNegativeOffset)) continue;
    let scale = (sumWeights * sumXQ - sumX * sumQ) / determinant;
    let least = (sumQQ * sumX - sumQ * sumXQ) / determinant;
    if (!fits || (noNegativeOffset && least > 0)) {
      least = 0;
      scale = sumXQ / sumQQ;
    }
    // The weighted squares of x are the same for every candidate and left out.
    const loss =
      scale * scale * sumQQ + least * least * sumWeights + 2 * (scale * least * sumQ - scale * sumXQ - least * sumX);
    if (loss < bestLoss) {
      bestLoss = loss;
      out.scale = scale;
      out.offset = -least;
    }
  }
}

/**
 * Weights of a run: those of its columns where they are known (`importance`, one a column of a row of numbers), else 1;
 * times sqrt(mean square + x^2), since a small error of a large weight moves more.
 */
export function fillWeights(
  weights: Float64Array,
  x: Float32Array,
  from: number,
  count: number,
  importance: Float32Array | undefined,
): void {
  let squares = 0;
  for (let j = from; j < from + count; j++) squares += x[j]! * x[j]!;
  const mean = squares / count;
  // Rows are whole blocks, so a run lies in one row.
  const column = importance ? from % importance.length : 0;
  for (let j = 0; j < count; j++) {
    const number = x[from + j]!;
    const size = Math.sqrt(mean + number * number);
    weights[j] = importance ? importance[column + j]! * size : size;
  }
}
