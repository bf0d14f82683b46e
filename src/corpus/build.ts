// The way from sources to corpus/: read, normalise, filter, remove duplicates, write, and account for every record.
// The work on single records is intake.ts; this is the order of it all.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { beginArtifact, environmentFailure } from "../formats/manifest.ts";
import type { Manifest } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job, JobEvent } from "../protocol/job.ts";
import { retentionSvg, retentionText } from "./chart.ts";
import { NEAR_DUPLICATES } from "./dedup/near.ts";
import { createIntake } from "./intake.ts";
import type { Intake } from "./intake.ts";
import type { Ledger } from "./ledger.ts";
import { locateSource } from "./locate.ts";
import type { LocatedSource } from "./locate.ts";
import { scriptConverter } from "./normalise.ts";
import type { ScriptOption } from "./normalise.ts";
import { createJudge } from "./rules.ts";

export interface CorpusOptions {
  /** npm:NAME[@VERSION], files and directories. Of two duplicates the first in this order is kept. */
  sources: readonly string[];
  /** The directory to write. */
  out: string;
  /** Globs on the files of the sources; all their data files where empty. */
  include?: readonly string[];
  /** At most so many records of each source. */
  limit?: number;
  /** Chinese characters as they are, or all simplified or traditional. Default "keep". */
  script?: ScriptOption;
  /** Names or paths of filters; "auto" stands for those that suit a document's script. None where empty. Default auto. */
  rules?: readonly string[];
  /** Where downloads are kept. Default: $LIANLU_CACHE, else ~/.cache/lianlu. */
  cacheDir?: string;
  signal?: AbortSignal;
}

export interface CorpusResult {
  dir: string;
  documents: number;
  characters: number;
  ledger: Ledger;
  manifest: Manifest;
}

const PROGRESS_MS = 100;

/**
 * Builds a corpus: documents-NNNNN.jsonl, quarantine.jsonl, dropped.jsonl, ledger.json, retention.svg, manifest.json.
 * The same sources and options give the same bytes in all of them but the manifest.
 * @throws Failure "usage" for options, "environment" for network and disk, "input" where no document is left.
 */
export async function* buildCorpus(options: CorpusOptions): Job<CorpusResult> {
  const { sources, out, include = [], limit, script = "keep", rules = ["auto"], cacheDir, signal } = options;
  if (sources.length === 0) {
    throw new Failure("usage", "no source given", "Name a file, a directory or a package such as npm:chinese-poetry.");
  }
  const judge = await createJudge(rules);
  const artifact = beginArtifact(out, {
    kind: "corpus",
    options: {
      sources: [...sources],
      include: [...include],
      limit: limit ?? null,
      script,
      rules: [...rules],
      thresholds: judge.thresholds,
      nearDuplicates: NEAR_DUPLICATES,
    },
    seed: NEAR_DUPLICATES.seed,
  });
  let intake: Intake | undefined;
  try {
    intake = createIntake(artifact.partialDir, judge, await scriptConverter(script));
    const scratchDir = join(artifact.partialDir, "unpacked");
    for (const given of sources) {
      const located = yield* locateSource(given, {
        include,
        scratchDir,
        ...(cacheDir === undefined ? {} : { cacheDir }),
        ...(signal === undefined ? {} : { signal }),
      });
      artifact.addInput(located.name, located.input);
      yield* readSource(located, intake, limit ?? Infinity, signal);
      rmSync(scratchDir, { recursive: true, force: true });
    }
    const { ledger, documents, characters, bytes } = yield* intake.finish(signal);
    for (const text of retentionText(ledger)) yield { type: "note", text };
    refuseEmpty(ledger, sources);
    writeFileSync(join(artifact.partialDir, "ledger.json"), `${JSON.stringify(ledger, null, 2)}\n`);
    writeFileSync(join(artifact.partialDir, "retention.svg"), retentionSvg(ledger));
    const { input, kept, quarantined, dropped } = ledger;
    const manifest = await artifact.commit({ documents, characters, bytes, input, kept, quarantined, dropped });
    return { dir: out, documents, characters, ledger, manifest };
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    intake?.dispose();
    artifact.discard();
  }
}

async function* readSource(
  { name, source, folder }: LocatedSource,
  intake: Intake,
  limit: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<JobEvent, void, void> {
  let read = 0;
  let reported = performance.now();
  const step = `read ${name}`;
  for await (const item of source.read(folder)) {
    if (read === limit) break;
    intake.take(item, name);
    read += 1;
    if (performance.now() - reported > PROGRESS_MS) {
      reported = performance.now();
      // Reading is mostly synchronous: let signals and timers have their turn.
      await setImmediate();
      signal?.throwIfAborted();
      yield { type: "progress", step, done: read, unit: "records" };
    }
  }
  yield { type: "progress", step, done: read, total: read, unit: "records" };
}

function refuseEmpty(ledger: Ledger, sources: readonly string[]): void {
  if (ledger.kept > 0) return;
  if (ledger.input === 0) {
    throw new Failure("input", `no records in ${sources.join(", ")}`, "Are the files empty?");
  }
  const losses = ledger.steps.flatMap(({ step, lost }) =>
    Object.entries(lost).map(([rule, count]) => `${count} ${step}/${rule}`),
  );
  throw new Failure(
    "input",
    `no document is left of ${ledger.input} records: ${losses.join(", ")}`,
    "Look at the first records of the source; --rules none shows whether the rules are too strict for it.",
  );
}
