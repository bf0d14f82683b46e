// JSON numbers within bounds, as digits. Where digits could not be read back exactly, fewer are allowed.
import { choice, literal, nothing, optional, repeat, sequence, type Expression } from "./expression.ts";
import { between } from "./unicode.ts";

/** Integers are written with at most this many digits, so that every one is a float64. */
const maxInteger = 999_999_999_999_999;
/** Bounded decimals: 9 digits before the point and 6 after it are told apart by float64. */
const maxDecimal = 999_999_999;
const fractionDigits = 6;

export interface Bounds {
  minimum: number;
  maximum: number;
  exclusiveMinimum: boolean;
  exclusiveMaximum: boolean;
}

const digit: Expression = { type: "byte", ranges: [[0x30, 0x39]] };
const minus = literal("-");
const point = literal(".");

/** Any JSON number of up to 15 digits before and after the point and a two-digit exponent. */
export const anyNumber: Expression = sequence(
  optional(minus),
  choice(literal("0"), sequence({ type: "byte", ranges: [[0x31, 0x39]] }, repeat(digit, 0, 14))),
  optional(sequence(point, repeat(digit, 1, 15))),
  optional(sequence(choice(literal("e"), literal("E")), optional(choice(literal("+"), minus)), repeat(digit, 1, 2))),
);

/** Integers within bounds; `nothing` where there are none. */
export function integers({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Bounds): Expression {
  let low = Math.ceil(minimum);
  let high = Math.floor(maximum);
  if (exclusiveMinimum && low === minimum) low += 1;
  if (exclusiveMaximum && high === maximum) high -= 1;
  low = Math.max(low, -maxInteger);
  high = Math.min(high, maxInteger);
  const items: Expression[] = [];
  if (high >= 0 && low <= high) items.push(naturals(Math.max(low, 0), high));
  if (low < 0 && low <= high) items.push(sequence(minus, naturals(Math.max(-high, 1), -low)));
  return items.length === 0 ? nothing : choice(...items);
}

/** Decimals within bounds: a part of them, never one outside; `nothing` where none can be written. */
export function decimals(bounds: Bounds): Expression {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = bounds;
  const items: Expression[] = [];
  if (maximum >= 0) {
    const low = Math.max(minimum, 0);
    items.push(notNegative(low, maximum, exclusiveMinimum && low === minimum, exclusiveMaximum));
  }
  if (minimum < 0) {
    const low = Math.max(-maximum, 0);
    items.push(sequence(minus, notNegative(low, -minimum, exclusiveMaximum && low === -maximum, exclusiveMinimum)));
  }
  return choice(...items);
}

/** Decimals between two bounds >= 0: whole parts strictly inside take any fraction, those at the ends a part. */
function notNegative(low: number, high: number, exclusiveLow: boolean, exclusiveHigh: boolean): Expression {
  const scale = 10 ** fractionDigits;
  // In units of the last digit; bounds with more digits are drawn inwards.
  let first = Math.ceil(roundUlp(Math.min(low, maxDecimal) * scale));
  let last = Math.floor(roundUlp(Math.min(high, maxDecimal) * scale));
  if (low > maxDecimal) return nothing;
  if (exclusiveLow && first / scale <= low) first += 1;
  if (exclusiveHigh && last / scale >= high) last -= 1;
  if (first > last) return nothing;

  const firstWhole = Math.floor(first / scale);
  const lastWhole = Math.floor(last / scale);
  const fixed = (whole: number, from: number, to: number): Expression =>
    sequence(literal(String(whole)), from === 0 ? optional(fraction(from, to)) : fraction(from, to));
  if (firstWhole === lastWhole) return fixed(firstWhole, first % scale, last % scale);
  const items = [fixed(firstWhole, first % scale, scale - 1), fixed(lastWhole, 0, last % scale)];
  if (lastWhole - firstWhole > 1) {
    const anyFraction = optional(sequence(point, repeat(digit, 1, fractionDigits)));
    items.push(sequence(naturals(firstWhole + 1, lastWhole - 1), anyFraction));
  }
  return choice(...items);
}

/** A product such as 0.07 * 1e6 that misses an integer by rounding alone becomes that integer. */
function roundUlp(value: number): number {
  const near = Math.round(value);
  return Math.abs(value - near) <= Math.abs(value) * 2 * Number.EPSILON ? near : value;
}

/** A point and a fraction between two, in units of the last digit; trailing zeros may be left out at its bounds. */
function fraction(from: number, to: number): Expression {
  const items: Expression[] = [];
  for (let digits = 1; digits <= fractionDigits; digits++) {
    const unit = 10 ** (fractionDigits - digits);
    const low = Math.ceil(from / unit);
    const high = Math.floor(to / unit);
    if (low <= high) items.push(...between(padded(low, digits), padded(high, digits), [0x30, 0x39]));
  }
  return sequence(point, choice(...items));
}

/** Integers between two >= 0, without leading zeros. */
function naturals(low: number, high: number): Expression {
  const items: Expression[] = [];
  for (let digits = String(low).length; digits <= String(high).length; digits++) {
    const from = Math.max(low, digits === 1 ? 0 : 10 ** (digits - 1));
    const to = Math.min(high, 10 ** digits - 1);
    items.push(...between(padded(from, digits), padded(to, digits), [0x30, 0x39]));
  }
  return items.length === 0 ? nothing : choice(...items);
}

function padded(value: number, digits: number): number[] {
  return [...Buffer.from(String(value).padStart(digits, "0"), "ascii")];
}
