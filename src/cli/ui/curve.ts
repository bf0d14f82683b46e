// A curve in the terminal, in braille: two columns and four rows of dots a character.
import { formatNumber } from "./table.ts";
import { pad } from "./width.ts";

export interface Point {
  x: number;
  y: number;
}

/** Dots of a braille character by [row][column], as bits (Unicode block U+2800). */
const dotBits = [
  [0x01, 0x08],
  [0x02, 0x10],
  [0x04, 0x20],
  [0x40, 0x80],
] as const;

/**
 * Draws points, joined in their order, as `height` lines of at most `width` columns: the axis labels are included.
 * Points that are not finite are left out; an empty list where fewer than two remain.
 */
export function drawCurve(points: readonly Point[], { width, height }: { width: number; height: number }): string[] {
  const finite = points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  if (finite.length < 2 || width < 16 || height < 2) return [];
  const xs = finite.map(({ x }) => x);
  const ys = finite.map(({ y }) => y);
  const [left, right] = [min(xs), max(xs)];
  const [bottom, top] = [min(ys), max(ys)];
  const labels = [formatNumber(top), formatNumber(bottom)];
  const margin = Math.max(...labels.map((label) => label.length));
  const columns = width - margin - 2;
  const [dotsWide, dotsHigh] = [columns * 2, height * 4];
  const cells = Array.from({ length: height }, () => new Uint8Array(columns));
  const place = ({ x, y }: Point): [number, number] => [
    Math.round(((x - left) / (right - left || 1)) * (dotsWide - 1)),
    Math.round(((top - y) / (top - bottom || 1)) * (dotsHigh - 1)),
  ];
  let previous = place(finite[0]!);
  for (const point of finite) {
    const next = place(point);
    // As many dots as the longer side of the step, so that the line has no gaps.
    const steps = Math.max(1, Math.abs(next[0] - previous[0]), Math.abs(next[1] - previous[1]));
    for (let step = 0; step <= steps; step++) {
      const column = Math.round(previous[0] + ((next[0] - previous[0]) * step) / steps);
      const row = Math.round(previous[1] + ((next[1] - previous[1]) * step) / steps);
      cells[row >> 2]![column >> 1]! |= dotBits[row & 3]![column & 1]!;
    }
    previous = next;
  }
  return cells.map((line, row) => {
    const label = row === 0 ? labels[0]! : row === height - 1 ? labels[1]! : "";
    const dots = Array.from(line, (bits) => String.fromCodePoint(0x2800 + bits)).join("");
    return `${pad(label, margin, "left")} ┤${dots}`;
  });
}

// Not Math.min(...values): a long run has more points than a call may have arguments.
function min(values: readonly number[]): number {
  return values.reduce((least, value) => (value < least ? value : least), Infinity);
}

function max(values: readonly number[]): number {
  return values.reduce((most, value) => (value > most ? value : most), -Infinity);
}
