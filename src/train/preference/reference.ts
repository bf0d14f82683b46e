// Log-probabilities by the model that training started from: computed once for all of the data, and kept in the run's
// directory, so that a run that goes on does not compute them again.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Decoder } from "../../model/index.ts";
import type { JobEvent } from "../../protocol/job.ts";
import type { Tape } from "../../tensor/index.ts";
import { answerLogprobs, sumSequences, withoutTraining } from "./logprobs.ts";
import { groupBatches, type Group, type GroupWalkOptions } from "./packing.ts";

const fileName = "reference.json";

/**
 * The summed log-probability of each sequence of each group, in nats [groups][sequences], by the decoder as it is now.
 * `key` tells the data and the model apart: what was kept under another one is not used. Of several ranks one writes.
 */
export async function* referenceLogprobs(
  tape: Tape,
  decoder: Decoder,
  groups: readonly Group[],
  options: GroupWalkOptions,
  kept: { directory: string; key: string; writes?: boolean },
): AsyncGenerator<JobEvent, Float64Array[], void> {
  const path = join(kept.directory, fileName);
  if (existsSync(path)) {
    const held = JSON.parse(readFileSync(path, "utf8")) as { key: string; logprobs: number[][] };
    if (held.key === kept.key) return held.logprobs.map((values) => Float64Array.from(values));
  }
  const logprobs: Float64Array[] = [];
  let done = 0;
  for (const batch of groupBatches(groups, options)) {
    const sums = withoutTraining(tape, () => sumSequences(answerLogprobs(tape, decoder, batch, false)));
    let at = 0;
    for (const group of batch.groups) {
      const { length } = groups[group]!;
      logprobs[group] = sums.slice(at, at + length);
      at += length;
    }
    done += batch.groups.length;
    yield { type: "progress", step: "reference", done, total: groups.length, unit: "examples" };
  }
  if (kept.writes === false) return logprobs;
  writeFileSync(`${path}.new`, JSON.stringify({ key: kept.key, logprobs: logprobs.map((values) => [...values]) }));
  renameSync(`${path}.new`, path);
  return logprobs;
}
