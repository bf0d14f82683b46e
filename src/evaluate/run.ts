// Runs tasks on a model: many samples at a time, resumable, to a report directory. Knows the model only as protocol's
// LanguageModel.
import { rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beginArtifact, environmentFailure } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { collect, type LanguageModel } from "../protocol/language-model.ts";
import { compareRuns, type EvaluationReport, formatReport, readRun, summarise, type TaskReport } from "./report.ts";
import { openResultLog, readResults, resultKey, type ResultLog, type SampleResult } from "./results.ts";
import { type Answer, loadTask, type Question, type ScoredPiece, type Task, type TaskSettings } from "./task.ts";

export interface EvaluateOptions {
  model: LanguageModel;
  /**
   * Tells the model from any other, best by a hash of its weights: results are only ever resumed for the same identity.
   * Default: the model's id, which is a name alone.
   */
  modelIdentity?: string;
  /** Names of tasks, or paths of files that define one. */
  tasks: readonly string[];
  settings: TaskSettings;
  /** Report directory to write; OUT.results.jsonl holds the results until then. */
  out: string;
  /** A report directory to compare with. */
  compareWith?: string;
  /** Samples under way at a time. Default 8. */
  concurrency?: number;
  /** A sample that takes longer has failed. Default ten minutes. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

const shownExamples = 8;
const shownFailures = 20;
const reportEveryMs = 100;

/**
 * Evaluates a model and writes report.json, report.txt and results.jsonl.
 * @throws Failure "usage" for unknown tasks or reports that cannot be compared, "input" where no sample of a task could
 * be scored, "environment" for the disk.
 */
export async function* evaluate(options: EvaluateOptions): Job<EvaluationReport> {
  const { model, modelIdentity: identity = model.id, settings, out } = options;
  const tasks: [string, Task][] = [];
  for (const name of new Set(options.tasks)) tasks.push([name, await loadTask(name)]);
  if (tasks.length === 0)
    throw new Failure("usage", "there is no task to evaluate", "Give --task, as --task quatrain.");
  const before = options.compareWith === undefined ? undefined : await readRun(options.compareWith);

  const artifact = beginArtifact(out, {
    kind: "evaluation",
    options: {
      tasks: tasks.map(([name]) => name),
      ...settings,
      model: identity,
      ...(options.compareWith === undefined ? {} : { compareWith: options.compareWith }),
    },
    seed: settings.seed,
  });
  const logPath = `${resolve(out)}.results.jsonl`;
  try {
    const done = await readResults(logPath);
    if (done.size > 0) yield { type: "note", text: `${done.size} results of a run that was interrupted are there.` };
    const report: EvaluationReport = { model: { id: model.id, identity }, tasks: [] };
    const results = new Map<string, SampleResult[]>();
    const log = openResultLog(logPath);
    try {
      for (const [name, task] of tasks) {
        const taskReport = yield* runTask(name, task, { ...options, identity, done, log, results });
        report.tasks.push(taskReport);
      }
    } finally {
      log.close();
    }
    if (before) report.comparison = { model: before.report.model, metrics: compareRuns(before, { report, results }) };
    const text = formatReport(report);
    writeFileSync(join(artifact.partialDir, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
    writeFileSync(join(artifact.partialDir, "report.txt"), `${text}\n`);
    // The log may hold results of other models; the report's own are written anew.
    const own = [...results.values()].flat();
    writeFileSync(
      join(artifact.partialDir, "results.jsonl"),
      own.map((result) => `${JSON.stringify(result)}\n`).join(""),
    );
    await artifact.commit(headline(report));
    rmSync(logPath, { force: true });
    return report;
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    artifact.discard();
  }
}

interface TaskRun extends EvaluateOptions {
  identity: string;
  done: ReadonlyMap<string, SampleResult>;
  log: ResultLog;
  /** Filled with this task's results, in the order of the samples. */
  results: Map<string, SampleResult[]>;
}

async function* runTask(name: string, task: Task, run: TaskRun): Job<TaskReport> {
  const { model, settings, identity, done, log, concurrency = 8, timeoutMs = 600_000, signal } = run;
  const slots: (SampleResult | undefined)[] = [];
  const failures: { sample: string; error: unknown }[] = [];
  const running = new Set<Promise<void>>();
  let finished = 0;
  /** How many samples the last report told of, and when it was. */
  let told = 0;
  let reported = 0;
  // Where one sample ends everything, the others are not worth their time.
  const abandon = new AbortController();
  const ended = signal ? AbortSignal.any([signal, abandon.signal]) : abandon.signal;

  const runSample = async (index: number, sample: { id: string; data: unknown }): Promise<void> => {
    const question = task.ask(sample, settings);
    const key = resultKey(name, task, sample.id, question, identity);
    const known = done.get(key);
    if (known) {
      slots[index] = known;
      finished++;
      return;
    }
    const limit = AbortSignal.timeout(timeoutMs);
    let answer: Answer;
    try {
      answer = await answerQuestion(model, question, AbortSignal.any([ended, limit]));
    } catch (error) {
      ended.throwIfAborted();
      failures.push({ sample: sample.id, error: limit.aborted ? new Error(`no answer in ${timeoutMs} ms`) : error });
      finished++;
      return;
    }
    const result: SampleResult = { key, task: name, sample: sample.id, ...task.score(answer, sample) };
    log.append(result);
    slots[index] = result;
    finished++;
  };
  const progress = () => ({
    type: "progress" as const,
    step: `evaluate ${name}`,
    done: finished,
    total: slots.length,
    unit: "samples",
    ...(failures.length > 0 ? { metrics: { failed: failures.length } } : {}),
  });

  try {
    // All samples are known before the first is run, so that a wrong path costs no model time.
    const samples = await Array.fromAsync(task.samples(settings));
    slots.length = samples.length;
    for (const [index, sample] of samples.entries()) {
      signal?.throwIfAborted();
      const work: Promise<void> = runSample(index, sample).then(() => void running.delete(work));
      // A failure stays in the set for the race below, which may not be waiting yet.
      work.catch(() => {});
      running.add(work);
      while (running.size >= (index + 1 < samples.length ? concurrency : 1)) {
        await Promise.race(running);
        if (performance.now() - reported < reportEveryMs) continue;
        told = finished;
        yield progress();
        reported = performance.now();
      }
    }
  } finally {
    abandon.abort();
    await Promise.allSettled(running);
  }
  // The loop above may have told of the last sample already.
  if (told < finished || finished === 0) yield progress();

  const results = slots.filter((result) => result !== undefined);
  const shown = failures.map(({ sample, error }) => ({
    sample,
    error: error instanceof Error ? error.message : String(error),
  }));
  if (results.length === 0) {
    const first = shown[0];
    if (first === undefined) throw new Failure("input", `the task ${name} has no samples`, "Give it some, see --help.");
    const what = `none of the ${slots.length} samples of ${name} could be scored; ${first.sample}: ${first.error}`;
    throw new Failure("input", what, "Mend what the message names and run again.", { cause: failures[0]!.error });
  }
  run.results.set(name, results);
  return {
    task: name,
    scorer: task.scorer,
    settings,
    coverage: { samples: slots.length, scored: results.length, failed: failures.length },
    metrics: summarise(task.metrics, results),
    examples: results
      .slice(0, shownExamples)
      .flatMap(({ sample, output, note }) =>
        output === undefined ? [] : [{ sample, output, ...(note === undefined ? {} : { note }) }],
      ),
    failures: shown.slice(0, shownFailures),
  };
}

async function answerQuestion(model: LanguageModel, question: Question, signal: AbortSignal): Promise<Answer> {
  switch (question.kind) {
    case "generate": {
      const { text } = await collect(model.generate({ ...question.request, signal }));
      return { kind: "generate", text };
    }
    case "score":
      return { kind: "score", pieces: await scorePieces(model, question.text, signal) };
    default:
      return question satisfies never;
  }
}

/** Scores a text whole, or in halves where it is longer than the model's context, whose tokens only the model knows. */
async function scorePieces(model: LanguageModel, text: string, signal: AbortSignal): Promise<ScoredPiece[]> {
  try {
    const [scored] = await model.score([text], { signal });
    return [{ ...scored!, text }];
  } catch (error) {
    // A token is at least a byte, so a text of fewer bytes than the context was refused for another reason.
    const tooLong =
      error instanceof Failure && error.kind === "input" && Buffer.byteLength(text) >= model.contextLength;
    if (!tooLong || text.length < 4) throw error;
    const half = halfOf(text);
    return [
      ...(await scorePieces(model, text.slice(0, half), signal)),
      ...(await scorePieces(model, text.slice(half), signal)),
    ];
  }
}

/** Where to cut: after the line break or space nearest before the middle, else in the middle, in no surrogate pair. */
function halfOf(text: string): number {
  const middle = text.length >> 1;
  for (const separator of ["\n", " "]) {
    const place = text.lastIndexOf(separator, middle);
    if (place > middle / 2) return place + 1;
  }
  return (text.charCodeAt(middle) & 0xfc00) === 0xdc00 ? middle + 1 : middle;
}

/** The figures for the manifest. */
function headline(report: EvaluationReport): Record<string, unknown> {
  return Object.fromEntries(
    report.tasks.map(({ task, coverage, metrics }) => [
      task,
      {
        ...coverage,
        ...Object.fromEntries(metrics.map(({ metric, value, low, high }) => [metric.name, { value, low, high }])),
      },
    ]),
  );
}
