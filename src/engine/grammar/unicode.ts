// Sets of code points, and the UTF-8 byte sequences that spell them. Surrogates are never part of a set's bytes.
import { choice, nothing, sequence, type Expression, type Range } from "./expression.ts";

export const lastCodePoint = 0x10ffff;

/** Sorted, without overlaps. */
export function normalise(ranges: readonly Range[]): Range[] {
  const result: [number, number][] = [];
  for (const [low, high] of ranges.toSorted((left, right) => left[0] - right[0])) {
    const last = result.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else result.push([low, high]);
  }
  return result;
}

/** All code points that are not in the ranges. */
export function complement(ranges: readonly Range[]): Range[] {
  const result: Range[] = [];
  let next = 0;
  for (const [low, high] of normalise(ranges)) {
    if (low > next) result.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= lastCodePoint) result.push([next, lastCodePoint]);
  return result;
}

export function intersect(left: readonly Range[], right: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const [low, high] of left) {
    for (const [otherLow, otherHigh] of right) {
      if (Math.max(low, otherLow) <= Math.min(high, otherHigh)) {
        result.push([Math.max(low, otherLow), Math.min(high, otherHigh)]);
      }
    }
  }
  return normalise(result);
}

const lengthRanges: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, lastCodePoint],
];

/** One code point of the set, as UTF-8. */
export function utf8(ranges: readonly Range[]): Expression {
  const items: Expression[] = [];
  const single: Range[] = [];
  for (const range of normalise(ranges)) {
    for (const lengthRange of lengthRanges) {
      for (const [low, high] of intersect([range], [lengthRange])) {
        if (high <= 0x7f) single.push([low, high]);
        else items.push(...between(encode(low), encode(high), [0x80, 0xbf]));
      }
    }
  }
  if (single.length > 0) items.unshift({ type: "byte", ranges: single });
  return items.length === 0 ? nothing : { type: "character", ranges: normalise(ranges), spelled: choice(...items) };
}

function encode(codePoint: number): number[] {
  return [...Buffer.from(String.fromCodePoint(codePoint), "utf8")];
}

/**
 * The byte strings between two of equal length, in the order of dictionaries, whose bytes after the first run over
 * `rest`: continuation bytes of UTF-8, or digits.
 */
export function between(low: readonly number[], high: readonly number[], rest: Range): Expression[] {
  const first = low[0]!;
  const last = high[0]!;
  if (low.length === 1) return [{ type: "byte", ranges: [[first, last]] }];
  const restLow = low.slice(1);
  const restHigh = high.slice(1);
  const lowest = restLow.map(() => rest[0]);
  const highest = restLow.map(() => rest[1]);
  const after = (byte: Range, items: Expression[]): Expression =>
    sequence({ type: "byte", ranges: [byte] }, choice(...items));
  if (first === last) return [after([first, first], between(restLow, restHigh, rest))];

  const result: Expression[] = [];
  const fullLow = restLow.every((byte, index) => byte === lowest[index]);
  const fullHigh = restHigh.every((byte, index) => byte === highest[index]);
  const middleLow = fullLow ? first : first + 1;
  const middleHigh = fullHigh ? last : last - 1;
  if (!fullLow) result.push(after([first, first], between(restLow, highest, rest)));
  if (middleLow <= middleHigh) result.push(after([middleLow, middleHigh], between(lowest, highest, rest)));
  if (!fullHigh) result.push(after([last, last], between(lowest, restHigh, rest)));
  return result;
}
