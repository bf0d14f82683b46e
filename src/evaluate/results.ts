// The results of samples: one JSON line each, appended as they come, found again by key. A run that was interrupted
// goes on where it was, and no result of another model, prompt, parameter or scorer is ever taken for this one's.
import { createHash } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { readJsonLines } from "../formats/jsonl.ts";
import { environmentFailure } from "../formats/manifest.ts";
import type { Question, Task } from "./task.ts";

const resultSchema = z.object({
  key: z.string(),
  task: z.string(),
  sample: z.string(),
  values: z.record(z.string(), z.number()),
  output: z.string().optional(),
  note: z.string().optional(),
});
export type SampleResult = z.infer<typeof resultSchema>;

/** SHA-256 over everything that decides a result. */
export function resultKey(
  taskName: string,
  task: Task,
  sampleId: string,
  question: Question,
  modelIdentity: string,
): string {
  const parts = [taskName, task.scorer.name, task.scorer.version, sampleId, question, modelIdentity];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** Reads results; a line that a crash cut short is passed over, since its sample will be run again. */
export async function readResults(path: string): Promise<Map<string, SampleResult>> {
  const results = new Map<string, SampleResult>();
  if (!existsSync(path)) return results;
  for await (const line of readJsonLines(path)) {
    const parsed = "value" in line ? resultSchema.safeParse(line.value) : undefined;
    if (parsed?.success) results.set(parsed.data.key, parsed.data);
  }
  return results;
}

export interface ResultLog {
  append(result: SampleResult): void;
  close(): void;
}

/** Opens a file of results to append to. Throws Failure("environment") where it cannot be written. */
export function openResultLog(path: string): ResultLog {
  const guard = <Value>(write: () => Value): Value => {
    try {
      return write();
    } catch (error) {
      throw environmentFailure(error, path);
    }
  };
  const descriptor = guard(() => {
    mkdirSync(dirname(resolve(path)), { recursive: true });
    const opened = openSync(path, "a");
    // Ends a line that a crash cut short, so that the next one is whole.
    writeSync(opened, "\n");
    return opened;
  });
  return {
    append(result) {
      guard(() => writeSync(descriptor, `${JSON.stringify(result)}\n`));
    },
    close() {
      guard(() => fsyncSync(descriptor));
      closeSync(descriptor);
    },
  };
}
