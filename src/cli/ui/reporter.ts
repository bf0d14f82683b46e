// Shows the events of jobs to people: live bars, figures and a loss curve on a terminal, a plain line now and then
// elsewhere.
import type { JobEvent } from "../../protocol/index.ts";
import { drawCurve, type Point } from "./curve.ts";
import { formatBytes, formatNumber, formatSeconds } from "./table.ts";
import { displayWidth, pad, truncate } from "./width.ts";

type Progress = Extract<JobEvent, { type: "progress" }>;

export interface Reporter {
  report(event: JobEvent): void;
  /** Takes the bars off the screen, so that something else can be written; they come back with the next event. */
  clear(): void;
  /** Writes what is left to say of unfinished steps and stops the clock. */
  close(): void;
}

interface Step {
  last: Progress;
  startedAt: number;
  /** How far the step was at its first event: not 0 where it was resumed. */
  startedFrom: number;
  losses: Point[];
}

const drawEveryMs = 100;
const plainLineEveryMs = 5_000;
const mostBarColumns = 24;
const curveHeight = 6;
const curveColumns = 76;
/** Beyond this, every other point of a curve is dropped. */
const mostPoints = 4_000;

/** `now` is in milliseconds. */
export function createReporter(options: {
  write(text: string): void;
  interactive: boolean;
  columns(): number;
  now?(): number;
}): Reporter {
  const { write, interactive, columns, now = () => performance.now() } = options;
  const steps = new Map<string, Step>();
  let drawnLines = 0;
  let drawnAt = -Infinity;
  let plainAt = now();
  /** The last streamed text did not end its line. */
  let insideLine = false;
  // Keeps the time that is left honest while no event comes.
  const clock = interactive ? setInterval(() => steps.size > 0 && draw(), 1_000) : undefined;
  clock?.unref();

  function clear(): void {
    if (drawnLines > 0) write(`\u001B[${drawnLines}F\u001B[J`);
    drawnLines = 0;
    drawnAt = -Infinity;
  }

  function endLine(): void {
    if (insideLine) write("\n");
    insideLine = false;
  }

  function draw(): void {
    const lines: string[] = [];
    for (const step of steps.values()) {
      for (const line of barLines(step, now(), columns())) lines.push(truncate(line, columns() - 1));
      const width = Math.min(curveColumns, columns() - 3);
      for (const line of drawCurve(averaged(step.losses, width), { width, height: curveHeight }))
        lines.push(`  ${line}`);
    }
    endLine();
    const erase = drawnLines > 0 ? `\u001B[${drawnLines}F\u001B[J` : "";
    write(`${erase}${lines.join("\n")}\n`);
    drawnLines = lines.length;
    drawnAt = now();
  }

  function finish(name: string, step: Step): void {
    steps.delete(name);
    clear();
    endLine();
    write(`${doneLine(step, now())}\n`);
  }

  function progress(event: Progress): void {
    const step = steps.get(event.step) ?? { last: event, startedAt: now(), startedFrom: event.done, losses: [] };
    step.last = event;
    steps.set(event.step, step);
    const loss = event.metrics?.loss;
    if (loss !== undefined) {
      step.losses.push({ x: event.done, y: loss });
      if (step.losses.length > mostPoints) step.losses = step.losses.filter((_, index) => index % 2 === 0);
    }
    if (event.total !== undefined && event.done >= event.total) finish(event.step, step);
    else if (interactive && now() - drawnAt >= drawEveryMs) draw();
    else if (!interactive && now() - plainAt >= plainLineEveryMs) {
      endLine();
      write(`${plainLine(step, now())}\n`);
      plainAt = now();
    }
  }

  return {
    report(event) {
      switch (event.type) {
        case "progress":
          progress(event);
          break;
        case "note":
          clear();
          endLine();
          write(`${event.text}\n`);
          break;
        case "text":
          clear();
          write(event.text);
          if (event.text !== "") insideLine = !event.text.endsWith("\n");
          break;
        default:
          event satisfies never;
      }
    },
    clear,
    close() {
      clearInterval(clock);
      for (const [name, step] of steps) finish(name, step);
      endLine();
    },
  };
}

/** The bar and, where they do not fit beside it, figures on lines of their own. */
function barLines(step: Step, now: number, columns: number): string[] {
  const { last } = step;
  const barColumns = Math.min(mostBarColumns, columns >> 2);
  const share = last.total === undefined ? undefined : Math.min(1, last.done / Math.max(1, last.total));
  const filled = Math.round((share ?? 0) * barColumns);
  const bar = share === undefined ? "" : `${"█".repeat(filled)}${"░".repeat(barColumns - filled)} `;
  const [first, ...others] = [...placeTexts(step, now), ...figureTexts(last.metrics), ...rateTexts(step, now)];
  const lines = [`${pad(last.step, 12)} ${bar}${first}`];
  for (const text of others) {
    const longer = `${lines.at(-1)}  ${text}`;
    if (displayWidth(longer) < columns) lines[lines.length - 1] = longer;
    else lines.push(`  ${text}`);
  }
  return lines;
}

function plainLine(step: Step, now: number): string {
  return `${step.last.step}: ${[...placeTexts(step, now), ...figureTexts(plainly(step.last.metrics)), ...rateTexts(step, now)].join("  ")}`;
}

function doneLine(step: Step, now: number): string {
  const { last, startedAt } = step;
  return [
    `${last.step}: ${count(last.done, last.unit)} in ${formatSeconds((now - startedAt) / 1000)}`,
    ...figureTexts(plainly(last.metrics)),
  ].join("  ");
}

/** Without the parts of figures ("loss/wiki"): a line has no room for them. */
function plainly(metrics: Record<string, number> | undefined): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics ?? {}).filter(([name]) => !name.includes("/")));
}

/** "42%  1,234 of 2,900 steps", "1 m 05 s left" */
function placeTexts(step: Step, now: number): string[] {
  const { done, total, unit } = step.last;
  const rate = rateOf(step, now);
  if (total === undefined) return [count(done, unit)];
  const share = pad(`${Math.floor((100 * done) / Math.max(1, total))}%`, 4, "left");
  const place = `${share}  ${`${count(done, "")} of ${count(total, unit)}`.replace("  ", " ")}`;
  return rate > 0 ? [place, `${formatSeconds((total - done) / rate)} left`] : [place];
}

/** Units a second; 0 while it is not known. */
function rateOf({ last, startedAt, startedFrom }: Step, now: number): number {
  const elapsed = (now - startedAt) / 1000;
  return elapsed > 0.5 ? (last.done - startedFrom) / elapsed : 0;
}

function rateTexts(step: Step, now: number): string[] {
  const rate = rateOf(step, now);
  const { unit, metrics } = step.last;
  const saysRate = Object.keys(metrics ?? {}).some((name) => name.endsWith("PerSecond"));
  if (rate <= 0 || saysRate) return [];
  return [`${unit === "bytes" ? formatBytes(Math.round(rate)) : `${formatNumber(rate)} ${unit}`}/s`];
}

function count(value: number, unit: string): string {
  return unit === "bytes" ? formatBytes(value) : `${formatNumber(value)} ${unit}`.trimEnd();
}

/** `{loss: 3.2, tokensPerSecond: 9000, mfu: 0.7}` as "loss 3.200", "9,000 tokens/s", "MFU 70%". */
function figureTexts(metrics: Record<string, number> | undefined): string[] {
  return Object.entries(metrics ?? {}).map(([name, value]) => {
    if (name === "mfu") return `MFU ${(100 * value).toFixed(0)}%`;
    if (name === "residentBytes") return `memory ${formatBytes(value)}`;
    const rated = /^(.+)PerSecond$/.exec(name);
    if (rated !== null) return `${formatNumber(Math.round(value))} ${words(rated[1]!)}/s`;
    return `${words(name)} ${formatNumber(value)}`;
  });
}

function words(camelCase: string): string {
  return camelCase.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** Means of neighbouring points, at most `most` of them: training loss is noisy. */
function averaged(points: readonly Point[], most: number): Point[] {
  const size = Math.ceil(points.length / most);
  if (size <= 1) return [...points];
  const means: Point[] = [];
  for (let start = 0; start < points.length; start += size) {
    const group = points.slice(start, start + size);
    const mean = (pick: (point: Point) => number) => group.reduce((sum, point) => sum + pick(point), 0) / group.length;
    means.push({ x: mean(({ x }) => x), y: mean(({ y }) => y) });
  }
  return means;
}
