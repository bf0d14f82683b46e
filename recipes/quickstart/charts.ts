// Charts of the report as inline SVG. Colours come from the page's CSS variables, so that light and dark both work.

export interface Series {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** Name of a CSS variable: "series-1". */
  color: string;
  /** Dots and no line, for values measured now and then. */
  dots?: boolean;
}

export interface LineChart {
  title: string;
  /** In the page's units: as wide as the place where it stands, so that letters keep their size. */
  width: number;
  xLabel: string;
  yLabel: string;
  series: readonly Series[];
  /** Horizontal lines to compare with. */
  levels?: readonly { name: string; y: number }[];
}

const height = 320;
const margin = { left: 56, right: 106, top: 16, bottom: 44 };
/** More points than this add bytes, not detail. */
const mostPoints = 360;

/** A chart of lines over a numeric axis; empty where there is nothing finite to draw. */
export function lineChart({ title, width, xLabel, yLabel, series, levels = [] }: LineChart): string {
  const drawn = series.map((one) => ({
    ...one,
    points: thinned(one.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y))),
  }));
  const points = drawn.flatMap((one) => one.points);
  if (points.length < 2) return "";
  const xs = points.map(([x]) => x);
  const ys = [...points.map(([, y]) => y), ...levels.map(({ y }) => y)];
  const x = scale(Math.min(...xs), Math.max(...xs), margin.left, width - margin.right);
  const low = Math.min(...ys);
  const high = Math.max(...ys);
  const y = scale(low - (high - low) * 0.04, high + (high - low) * 0.04, height - margin.bottom, margin.top);
  const parts = [
    ...ticks(low, high, 5).map(
      (value) =>
        `<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${y(value)}" y2="${y(value)}"/>` +
        `<text class="tick" x="${margin.left - 8}" y="${y(value) + 4}" text-anchor="end">${short(value)}</text>`,
    ),
    ...ticks(Math.min(...xs), Math.max(...xs), Math.round(width / 120)).map(
      (value) =>
        `<text class="tick" x="${x(value)}" y="${height - margin.bottom + 18}" text-anchor="middle">${short(value)}</text>`,
    ),
    ...levels.map(
      (level) =>
        `<line class="level" x1="${margin.left}" x2="${width - margin.right}" y1="${y(level.y)}" y2="${y(level.y)}"/>` +
        `<text class="tick" x="${width - margin.right + 6}" y="${y(level.y) + 4}">${escapeHtml(level.name)} ${short(level.y)}</text>`,
    ),
    ...drawn.map((one) => seriesMark(one, x, y)),
    ...legend(drawn, width),
    `<text class="axis" x="${(margin.left + width - margin.right) / 2}" y="${height - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>`,
    `<text class="axis" x="14" y="${(height - margin.bottom) / 2}" text-anchor="middle" transform="rotate(-90 14 ${(height - margin.bottom) / 2})">${escapeHtml(yLabel)}</text>`,
  ];
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">${parts.join("")}</svg>`;
}

function seriesMark(
  { points, color, dots }: Series,
  x: (value: number) => number,
  y: (value: number) => number,
): string {
  if (dots === true) {
    return points
      .map((point) => `<circle cx="${x(point[0])}" cy="${y(point[1])}" r="3" fill="var(--${color})"/>`)
      .join("");
  }
  const path = points.map((point, index) => `${index === 0 ? "M" : "L"}${x(point[0])} ${y(point[1])}`).join("");
  return `<path d="${path}" fill="none" stroke="var(--${color})" stroke-width="1.8"/>`;
}

function legend(series: readonly Series[], width: number): string[] {
  return series.map(({ name, color }, index) => {
    const top = margin.top + 10 + index * 18;
    return (
      `<rect x="${width - margin.right - 84}" y="${top - 8}" width="10" height="10" rx="2" fill="var(--${color})"/>` +
      `<text class="tick" x="${width - margin.right - 68}" y="${top + 1}">${escapeHtml(name)}</text>`
    );
  });
}

export interface Share {
  value: number;
  low: number;
  high: number;
}

/** For each row two shares between 0 and 1, before and after, as dots with their intervals. */
export function shareChart(
  title: string,
  width: number,
  rows: readonly { name: string; before: Share; after: Share }[],
): string {
  const left = 60;
  const rowHeight = 44;
  const total = rows.length * rowHeight + 40;
  const x = scale(0, 1, left, width - 40);
  const mark = ({ value, low, high }: Share, top: number, color: string) =>
    `<line x1="${x(low)}" x2="${x(high)}" y1="${top}" y2="${top}" stroke="var(--${color})" stroke-width="2"/>` +
    `<circle cx="${x(value)}" cy="${top}" r="5" fill="var(--${color})"/>`;
  const parts = [
    ...[0, 0.25, 0.5, 0.75, 1].map(
      (value) =>
        `<line class="grid" x1="${x(value)}" x2="${x(value)}" y1="8" y2="${total - 28}"/>` +
        `<text class="tick" x="${x(value)}" y="${total - 10}" text-anchor="middle">${100 * value}%</text>`,
    ),
    ...rows.map(({ name, before, after }, index) => {
      const top = 16 + index * rowHeight;
      return `<text class="tick" x="${left - 12}" y="${top + 13}" text-anchor="end">${escapeHtml(name)}</text>${mark(before, top + 4, "series-3")}${mark(after, top + 18, "series-1")}`;
    }),
  ];
  return `<svg viewBox="0 0 ${width} ${total}" role="img" aria-label="${escapeHtml(title)}">${parts.join("")}</svg>`;
}

/** A linear map, rounded to tenths of a pixel. */
function scale(fromLow: number, fromHigh: number, toLow: number, toHigh: number): (value: number) => number {
  const factor = (toHigh - toLow) / (fromHigh - fromLow || 1);
  return (value) => Math.round((toLow + (value - fromLow) * factor) * 10) / 10;
}

/** Round values that divide a range into about `count` parts. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  const values: number[] = [];
  for (let index = Math.ceil(low / step); index * step <= high; index++)
    values.push(Number((index * step).toPrecision(12)));
  return values;
}

function short(value: number): string {
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(4)));
}

/** Means of neighbours, so that no series has more than `mostPoints`. */
function thinned(points: Series["points"]): Series["points"] {
  const size = Math.ceil(points.length / mostPoints);
  if (size <= 1) return points;
  const means: [number, number][] = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size);
    const mean = (axis: 0 | 1) => group.reduce((sum, point) => sum + point[axis], 0) / group.length;
    means.push([mean(0), mean(1)]);
  }
  return means;
}

export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
