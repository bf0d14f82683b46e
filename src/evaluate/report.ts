// What an evaluation found: figures with their intervals, the comparison of two runs, and both as text.
import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { readManifest } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import { readResults, type SampleResult } from "./results.ts";
import { bootstrap, type Interval, mcnemar, pairedShareInterval, wilson } from "./statistics.ts";
import type { Metric, TaskSettings } from "./task.ts";

export interface MetricReport extends Interval {
  metric: Metric;
  /** `low` and `high` are its 95% interval: Wilson's for shares, bootstrap over samples for ratios. */
  value: number;
}

export interface TaskReport {
  task: string;
  scorer: { name: string; version: number };
  settings: TaskSettings;
  /** Samples asked for, scored and failed: what failed is in no figure, and is counted here. */
  coverage: { samples: number; scored: number; failed: number };
  metrics: MetricReport[];
  /** The first few answers, where the task generates. */
  examples: { sample: string; output: string; note?: string }[];
  /** The first few failures. */
  failures: { sample: string; error: string }[];
}

export interface MetricComparison extends Interval {
  task: string;
  metric: Metric;
  /** Samples that both runs scored. */
  pairs: number;
  before: number;
  after: number;
  /** after - before, on the pairs, with `low` and `high` as its 95% interval. */
  difference: number;
  /** Of McNemar's exact test, for shares. */
  pValue?: number;
  /** A tie unless the test (shares, p < 0.05) or the interval (ratios) tells the runs apart. */
  verdict: "better" | "worse" | "tie";
}

export interface EvaluationReport {
  /** `identity` is a hash of its weights, or its address. */
  model: { id: string; identity: string };
  tasks: TaskReport[];
  /** Against an earlier report, where one was given. */
  comparison?: { model: { id: string; identity: string }; metrics: MetricComparison[] };
}

/** The figures of a task from its results. */
export function summarise(metrics: readonly Metric[], results: readonly SampleResult[]): MetricReport[] {
  return metrics.map((metric) => {
    switch (metric.kind) {
      case "share": {
        const passed = results.filter(({ values }) => values[metric.value] === 1).length;
        return { metric, value: passed / results.length, ...wilson(passed, results.length) };
      }
      case "ratio": {
        const ratio = ratioOf(metric, results);
        return { metric, value: ratio(), ...resample(results.length, ratio) };
      }
      default:
        return metric satisfies never;
    }
  });
}

/** One sample says nothing of how much samples differ: its interval is not a number, null in JSON. */
function resample(samples: number, statistic: (draws: Uint32Array) => number): Interval {
  return samples < 2 ? { low: Number.NaN, high: Number.NaN } : bootstrap(samples, statistic);
}

/** The metric over results, each counted as often as it was drawn (once where nothing is given). */
function ratioOf(metric: Metric & { kind: "ratio" }, results: readonly SampleResult[]) {
  const numerators = Float64Array.from(results, ({ values }) => values[metric.numerator]!);
  const denominators = Float64Array.from(results, ({ values }) => values[metric.denominator]!);
  return (draws?: Uint32Array): number => {
    let [above, below] = [0, 0];
    for (let index = 0; index < numerators.length; index++) {
      const times = draws ? draws[index]! : 1;
      above += times * numerators[index]!;
      below += times * denominators[index]!;
    }
    return metric.exponential ? Math.exp(above / below) : above / below;
  };
}

export interface Run {
  report: EvaluationReport;
  /** Results by task. */
  results: Map<string, SampleResult[]>;
}

/** Reads a report directory. Throws Failure("input") where it is none. */
export async function readRun(dir: string): Promise<Run> {
  readManifest(dir, "evaluation");
  let report: EvaluationReport;
  try {
    report = JSON.parse(await readFile(join(dir, "report.json"), "utf8")) as EvaluationReport;
  } catch (error) {
    throw new Failure("input", `${join(dir, "report.json")} cannot be read`, "Evaluate again.", { cause: error });
  }
  const results = [...(await readResults(join(dir, "results.jsonl"))).values()];
  return { report, results: Map.groupBy(results, ({ task }) => task) };
}

/**
 * Compares two runs on the samples that both scored, metric by metric.
 * @throws Failure "usage" where they share no sample, so that nothing can be said.
 */
export function compareRuns(before: Run, after: Run): MetricComparison[] {
  const comparisons: MetricComparison[] = [];
  for (const { task, metrics, scorer } of after.report.tasks) {
    const earlier = before.report.tasks.find((report) => report.task === task);
    if (!earlier || earlier.scorer.name !== scorer.name || earlier.scorer.version !== scorer.version) continue;
    const byId = new Map(before.results.get(task)?.map((result) => [result.sample, result]));
    const pairs = (after.results.get(task) ?? []).flatMap((result) => {
      const other = byId.get(result.sample);
      return other ? [{ before: other, after: result }] : [];
    });
    if (pairs.length === 0) continue;
    for (const { metric } of metrics) comparisons.push(compareMetric(task, metric, pairs));
  }
  if (comparisons.length === 0) {
    throw new Failure(
      "usage",
      "the two reports share no samples of the same task and scorer",
      "Evaluate both models with the same --task, --seed, --titles and --text.",
    );
  }
  return comparisons;
}

function compareMetric(
  task: string,
  metric: Metric,
  pairs: readonly { before: SampleResult; after: SampleResult }[],
): MetricComparison {
  const sides = { before: pairs.map(({ before }) => before), after: pairs.map(({ after }) => after) };
  switch (metric.kind) {
    case "share": {
      const [before, after] = [sides.before, sides.after].map((results) =>
        results.map(({ values }) => values[metric.value]!),
      ) as [number[], number[]];
      const gained = after.filter((value, index) => value > before[index]!).length;
      const lost = after.filter((value, index) => value < before[index]!).length;
      const share = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
      const pValue = mcnemar(gained, lost);
      const difference = (gained - lost) / pairs.length;
      return {
        task,
        metric,
        pairs: pairs.length,
        before: share(before),
        after: share(after),
        difference,
        ...pairedShareInterval(gained, lost, pairs.length),
        pValue,
        verdict: pValue >= 0.05 ? "tie" : difference > 0 ? "better" : "worse",
      };
    }
    case "ratio": {
      const [before, after] = [ratioOf(metric, sides.before), ratioOf(metric, sides.after)];
      const interval = resample(pairs.length, (draws) => after(draws) - before(draws));
      return {
        task,
        metric,
        pairs: pairs.length,
        before: before(),
        after: after(),
        difference: after() - before(),
        ...interval,
        verdict: interval.high < 0 ? "better" : interval.low > 0 ? "worse" : "tie",
      };
    }
    default:
      return metric satisfies never;
  }
}

const figure = (metric: Metric, value: number, sign = ""): string => {
  const shown = metric.kind === "share" ? `${(100 * value).toFixed(1)}%` : value.toFixed(value >= 100 ? 1 : 3);
  return value >= 0 ? sign + shown : shown;
};

const interval = (metric: Metric, { low, high }: Interval, sign = ""): string =>
  Number.isNaN(low)
    ? "one sample has no interval"
    : `95% ${figure(metric, low, sign)} to ${figure(metric, high, sign)}`;

/** A page of text. */
export function formatReport({ model, tasks, comparison }: EvaluationReport): string {
  const lines = [`Model  ${model.id}  ${model.identity.slice(0, 23)}`];
  for (const { task, coverage, metrics, examples, failures } of tasks) {
    const failed = coverage.failed > 0 ? `, ${coverage.failed} FAILED and in no figure` : "";
    lines.push("", `${task}: ${coverage.scored} of ${coverage.samples} samples scored${failed}`);
    for (const row of metrics) {
      const value = figure(row.metric, row.value).padStart(8);
      lines.push(`  ${row.metric.title.padEnd(26)} ${value}   ${interval(row.metric, row)}`);
    }
    for (const { sample, error } of failures.slice(0, 3)) lines.push(`  failed: ${sample}: ${error}`);
    for (const { sample, output, note } of examples.slice(0, 3)) {
      lines.push(`  ${sample}  ${JSON.stringify(output)}${note === undefined ? "" : `  (${note})`}`);
    }
  }
  if (comparison) {
    lines.push("", `Against ${comparison.model.id}  ${comparison.model.identity.slice(0, 23)}`);
    for (const row of comparison.metrics) {
      const { task, metric, before, after, difference, pValue, verdict, pairs } = row;
      const test = pValue === undefined ? "" : `, McNemar p ${pValue.toPrecision(2)}`;
      lines.push(
        `  ${task} ${metric.title}: ${figure(metric, before)} -> ${figure(metric, after)}, ` +
          `${figure(metric, difference, "+")} (${interval(metric, row, "+")}${test}, ${pairs} pairs): ${verdict}`,
      );
    }
  }
  return lines.join("\n");
}
