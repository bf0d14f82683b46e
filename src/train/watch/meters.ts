// The figures of a run on the disk: metrics.jsonl (a row a step) and anomalies.jsonl, which are the same bytes whenever
// the run is the same, however often it was stopped; timings.jsonl, which says what a clock said; and event files for
// TensorBoard.
import { appendFileSync, copyFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createEventWriter, type EventWriter } from "../../formats/tensorboard.ts";
import type { AnomalyAction, AnomalyKind } from "./anomalies.ts";

/** What a step gave: a function of the run's options alone. */
export interface MetricsRow {
  /** Counted from 1. */
  step: number;
  /** Nats a trained token, or what the objective counts; before the update. */
  loss: number;
  learningRate: number;
  /** Before clipping. */
  gradientNorm: number;
  /** Global norms of what the update moved, and of the weights after it; every few steps. */
  updateNorm?: number;
  weightNorm?: number;
  /** Tokens so far, this step's included. */
  tokens: number;
  validationLoss?: number;
  /** Figures by name: parts of the loss ("loss/wiki"), of the validation ("validation/loss/wiki"), of hooks ("chat/..."). */
  parts?: Record<string, number>;
  /** Why the update was left out. */
  skipped?: AnomalyKind;
}

/** What the clock said of a step. */
export interface TimingRow {
  step: number;
  /** Since this start of the run. */
  elapsedSeconds: number;
  /** Of the step itself, without validation, hooks and snapshots. */
  seconds: number;
  tokensPerSecond: number;
  /** Floating-point operations a second as a share of the most that the machine does. */
  mfu?: number;
  residentBytes: number;
}

/** An anomaly and what was done about it. */
export interface AnomalyRow {
  step: number;
  kind: AnomalyKind;
  action: AnomalyAction;
  message: string;
  figures: Record<string, number>;
}

export interface Meters {
  /** The rows so far, of earlier starts of the run too. */
  readonly curve: readonly MetricsRow[];
  readonly anomalies: readonly AnomalyRow[];
  add(row: MetricsRow, timing: TimingRow): void;
  anomaly(row: AnomalyRow): void;
  /** Forgets the rows after a step, which will be made again. */
  backTo(step: number): void;
}

export interface MetersOptions {
  directory: string;
  /** Steps and anomalies of earlier starts that count. */
  step: number;
  anomalies: number;
  /** Where event files go. */
  tensorboard?: string | undefined;
}

export function openMeters({ directory, step, anomalies: counted, tensorboard }: MetersOptions): Meters {
  const metricsPath = join(directory, "metrics.jsonl");
  const timingsPath = join(directory, "timings.jsonl");
  const anomaliesPath = join(directory, "anomalies.jsonl");
  const startEvents = (fromStep: number | undefined): EventWriter | undefined =>
    tensorboard === undefined ? undefined : createEventWriter(tensorboard, fromStep);
  let curve: MetricsRow[] = [];
  const keepUpTo = (last: number): void => {
    curve = keepRows<MetricsRow>(metricsPath, (row) => row.step <= last);
    keepRows<TimingRow>(timingsPath, (row) => row.step <= last);
  };
  keepUpTo(step);
  const anomalies = keepRows<AnomalyRow>(anomaliesPath, (_, index) => index < counted);
  let events = startEvents(step > 0 ? step + 1 : undefined);
  return {
    get curve() {
      return curve;
    },
    anomalies,
    add(row, timing) {
      curve.push(row);
      append(metricsPath, row);
      append(timingsPath, timing);
      const { step: at, parts, skipped: _, ...figures } = row;
      const { step: __, ...clock } = timing;
      events?.scalars(at, { ...figures, ...clock, ...parts });
    },
    anomaly(row) {
      anomalies.push(row);
      append(anomaliesPath, row);
      events?.text(row.step, "anomaly", `${row.message} (${row.action})`);
    },
    backTo(last) {
      keepUpTo(last);
      events = startEvents(last + 1);
    },
  };
}

/** For ranks that do not write: what is remembered alone. */
export function silentMeters(): Meters {
  let curve: MetricsRow[] = [];
  const anomalies: AnomalyRow[] = [];
  return {
    get curve() {
      return curve;
    },
    anomalies,
    add: (row) => void curve.push(row),
    anomaly: (row) => void anomalies.push(row),
    backTo: (last) => void (curve = curve.filter(({ step }) => step <= last)),
  };
}

/** Copies what a run wrote of itself to where its result is; not what the clock said, so that equal runs have equal results. */
export function copyRecords(runDirectory: string, directory: string): void {
  for (const name of ["metrics.jsonl", "anomalies.jsonl"]) {
    const path = join(runDirectory, name);
    if (existsSync(path)) copyFileSync(path, join(directory, name));
  }
}

function append(path: string, row: object): void {
  appendFileSync(path, `${JSON.stringify(row)}\n`);
}

/** Reads the rows that are kept and cuts off the others; a line that a crash cut off is no row. */
function keepRows<Row>(path: string, kept: (row: Row, index: number) => boolean): Row[] {
  if (!existsSync(path)) return [];
  const rows: Row[] = [];
  for (const [index, line] of readFileSync(path, "utf8").split("\n").entries()) {
    try {
      // A number that is not finite is written as null.
      const row = JSON.parse(line, (_, value: unknown) => (value === null ? Number.NaN : value)) as Row;
      if (kept(row, index)) rows.push(row);
    } catch {
      // Cut off by a crash, or the end of the file.
    }
  }
  writeFileSync(`${path}.new`, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  renameSync(`${path}.new`, path);
  return rows;
}
