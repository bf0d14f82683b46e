// The evaluation link: tasks, their statistics, and reports that can be compared.
export {
  compareRuns,
  type EvaluationReport,
  formatReport,
  type MetricComparison,
  type MetricReport,
  readRun,
  type Run,
  type TaskReport,
} from "./report.ts";
export { type SampleResult } from "./results.ts";
export { evaluate, type EvaluateOptions } from "./run.ts";
export * from "./statistics.ts";
export {
  type Answer,
  defineTask,
  loadTask,
  type Metric,
  type Question,
  type Sample,
  type Scored,
  type ScoredPiece,
  type Task,
  taskNames,
  type TaskSettings,
} from "./task.ts";
