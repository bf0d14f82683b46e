// What a task is: one file in tasks/ that default-exports defineTask({...}); the filename is its name. A task says what
// is asked of a model and how the answers are scored and summed up; it never runs anything itself.
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure } from "../protocol/errors.ts";
import type { GenerateRequest, ScoredText } from "../protocol/language-model.ts";
import { importUserModule } from "../protocol/user-module.ts";

export interface TaskSettings {
  /** Samples at most. */
  samples: number;
  /** Chooses samples and decides what is generated. */
  seed: number;
  temperature: number;
  topP: number;
  /** Where tasks on text find it: a tokens or corpus directory, or JSON lines of documents. */
  text?: string;
  /** Where tasks on topics find titles: an instructions directory, its heldout.jsonl, or a file with one title a line. */
  titles?: string;
}

export interface Sample<Data = unknown> {
  /** Tells the samples of a task apart, and pairs them between runs. */
  id: string;
  data: Data;
}

/** What is asked of the model: all that decides the answer, so that it can be part of a result's key. */
export type Question =
  | { kind: "generate"; request: Omit<GenerateRequest, "signal"> }
  /** A text to score; one that is longer than the context is scored in pieces. */
  | { kind: "score"; text: string };

export type Answer = { kind: "generate"; text: string } | { kind: "score"; pieces: readonly ScoredPiece[] };

export interface ScoredPiece extends ScoredText {
  text: string;
}

export interface Scored {
  /** Numbers of this sample by name; a share's are 0 and 1. */
  values: Record<string, number>;
  /** What the model wrote, for the report. */
  output?: string;
  /** Why it scored so, one sentence. */
  note?: string;
}

export type Metric = {
  name: string;
  /** For people. */
  title: string;
} & (
  | { kind: "share"; /** The value that is 0 or 1. */ value: string }
  /** Sum of one value over that of another, or e to the power of it; lower is better. */
  | { kind: "ratio"; numerator: string; denominator: string; exponential: boolean }
);

export interface Task<Data = unknown> {
  summary: string;
  /** Changes whenever the same answer may score otherwise. */
  scorer: { name: string; version: number };
  metrics: readonly Metric[];
  samples(settings: TaskSettings): AsyncIterable<Sample<Data>> | Iterable<Sample<Data>>;
  ask(sample: Sample<Data>, settings: TaskSettings): Question;
  score(answer: Answer, sample: Sample<Data>): Scored;
}

/** Identity: infers the type of the data. */
export function defineTask<Data>(task: Task<Data>): Task<Data> {
  return task;
}

const folder = join(import.meta.dirname, "tasks");

/** Names of the tasks that are here. */
export function taskNames(): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => file.slice(0, -3))
    .toSorted();
}

/** A task by name, or a user's own by the path of its file. Throws Failure("usage") where there is none. */
export async function loadTask(name: string): Promise<Task> {
  const isPath = /[/\\]|\.[cm]?[jt]s$/.test(name);
  const path = isPath ? resolve(name) : join(folder, `${name}.ts`);
  if (!isPath && !taskNames().includes(name)) {
    const hint = `Choose one of: ${taskNames().join(", ")}; or give the path of your own, as ./mine.ts.`;
    throw new Failure("usage", `there is no task "${name}"`, hint);
  }
  if (!existsSync(path)) throw new Failure("usage", `there is no file ${path}`, "Check the path of the task.");
  const { default: task } = (await importUserModule(path)) as { default?: Partial<Task> };
  if (!task?.metrics || !task.scorer || !task.samples || !task.ask || !task.score) {
    throw new Failure("usage", `${path} has no task as its default export`, "Let it export default defineTask({...}).");
  }
  return task as Task;
}
