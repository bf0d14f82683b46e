// Takes in records one by one and sorts them: quarantined, dropped by a rule, or a candidate. When all are in, decides
// between duplicates and writes the documents. Candidates wait on disk; in memory stay about 0.8 KB for each.
import { hash } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { createJsonLinesWriter, readJsonLines } from "../formats/jsonl.ts";
import type { JsonLinesWriter } from "../formats/jsonl.ts";
import type { Job } from "../protocol/job.ts";
import { createNearDuplicates, NEAR_DUPLICATES } from "./dedup/near.ts";
import { bodyOf } from "./document.ts";
import type { Document, Place, SourceItem } from "./document.ts";
import { openLedger } from "./ledger.ts";
import type { Ledger } from "./ledger.ts";
import { composeDocument } from "./normalise.ts";
import type { Judge } from "./rules.ts";
import { scriptOf } from "./script.ts";

export interface Intake {
  take(item: SourceItem, source: string): void;
  /** Decides between duplicates and writes documents-NNNNN.jsonl. */
  finish(signal: AbortSignal | undefined): Job<Written>;
  /** Closes the files, also after an error. */
  dispose(): void;
}

export interface Written {
  ledger: Ledger;
  documents: number;
  characters: number;
  bytes: number;
}

/** A line of quarantine.jsonl. */
export interface QuarantinedRecord extends Place {
  source: string;
  reason: string;
  /** The record's beginning, with what is no UTF-8 replaced. */
  snippet: string;
}
/** A line of dropped.jsonl. */
export interface DroppedDocument {
  id: string;
  source: string;
  /** "rules/length", "exact/duplicate", "near/duplicate". */
  rule: string;
  reason: string;
}

const SNIPPET_BYTES = 160;
const SHARD_BYTES = 256 * 1024 * 1024;
const PROGRESS_EVERY = 4096;

/** What is remembered of a candidate: enough to choose between duplicates. */
interface Candidate {
  id: string;
  source: string;
  /** Empty where there is none. */
  date: string;
  /** Candidates with the same body share a group. */
  group: number;
}

export function createIntake(dir: string, judge: Judge, convert: (text: string) => string): Intake {
  const ledger = openLedger();
  const candidatesPath = join(dir, "candidates.jsonl");
  const waiting = createJsonLinesWriter(candidatesPath);
  const dropped = createJsonLinesWriter(join(dir, "dropped.jsonl"));
  const quarantine = createJsonLinesWriter(join(dir, "quarantine.jsonl"));
  const writers: JsonLinesWriter[] = [waiting, dropped, quarantine];
  const candidates: Candidate[] = [];
  const groups = new Map<string, number>();
  const near = createNearDuplicates();

  const quarantineItem = (source: string, place: Place, reason: string, bytes: Uint8Array): void => {
    const snippet = Buffer.from(bytes.subarray(0, SNIPPET_BYTES)).toString("utf8");
    quarantine.write({ source, ...place, reason, snippet } satisfies QuarantinedRecord);
    ledger.quarantine(source, reason);
  };
  const drop = (id: string, source: string, step: "rules" | "exact" | "near", rule: string, reason: string): void => {
    dropped.write({ id, source, rule: `${step}/${rule}`, reason } satisfies DroppedDocument);
    ledger.drop(source, step, rule);
  };

  const take = (item: SourceItem, source: string): void => {
    ledger.read(source);
    if (item.type === "broken") {
      quarantineItem(source, item.place, item.reason, item.bytes);
      return;
    }
    const document = composeDocument(item.document, source, convert);
    if (document.text === "" || !document.text.isWellFormed()) {
      const reason = document.text === "" ? "no text: nothing is left of it" : "invalid Unicode: half a surrogate pair";
      quarantineItem(source, item.place, reason, Buffer.from(JSON.stringify(item.document)));
      return;
    }
    const body = bodyOf(document);
    const script = scriptOf(body);
    const verdict = judge.check(document, body, script);
    if (verdict !== undefined) {
      drop(document.id, source, "rules", verdict.rule, verdict.reason);
      return;
    }
    waiting.write(document);
    // 128 of the 256 bits: no two texts of any corpus meet in them by chance.
    const key = hash("sha256", body, "base64").slice(0, 22);
    let group = groups.get(key);
    if (group === undefined) {
      group = groups.size;
      groups.set(key, group);
      near.add(body, script);
    }
    const { date } = document.meta;
    candidates.push({ id: document.id, source, date: typeof date === "string" ? date : "", group });
  };

  async function* finish(signal: AbortSignal | undefined): Job<Written> {
    waiting.close();
    const clusters = yield* clusterGroups(signal);
    const keptOfGroup = choose(candidates, ({ group }) => group);
    const keptOfCluster = choose(candidates, ({ group }) => clusters[group]!);

    let index = 0;
    let characters = 0;
    const shards = createShards(dir, writers);
    for await (const line of readJsonLines(candidatesPath)) {
      if (!("value" in line)) throw new Error(`${candidatesPath}:${line.line}: ${line.error}`);
      const { id, source, group } = candidates[index]!;
      const best = keptOfCluster.get(clusters[group]!)!;
      const bestOfGroup = keptOfGroup.get(group)!;
      if (index === best) {
        shards.write(line.bytes);
        characters += (line.value as Document).text.length;
        ledger.keep(source);
      } else if (index === bestOfGroup) {
        drop(id, source, "near", "duplicate", `nearly the same text as ${candidates[best]!.id}`);
      } else {
        drop(id, source, "exact", "duplicate", `the same text as ${candidates[bestOfGroup]!.id}`);
      }
      index += 1;
      if (index % PROGRESS_EVERY === 0 || index === candidates.length) {
        signal?.throwIfAborted();
        yield { type: "progress", step: "write", done: index, total: candidates.length, unit: "documents" };
      }
    }
    for (const writer of writers) writer.close();
    rmSync(candidatesPath);
    const counts = { kept: shards.documents, dropped: dropped.lines, quarantined: quarantine.lines };
    return { ledger: ledger.close(counts), documents: shards.documents, characters, bytes: shards.bytes };
  }

  /** The least group of each group's cluster. */
  async function* clusterGroups(signal: AbortSignal | undefined): Job<Int32Array> {
    const clustering = near.cluster();
    for (;;) {
      const { done, value } = clustering.next();
      if (done) return value;
      await setImmediate();
      signal?.throwIfAborted();
      const total = NEAR_DUPLICATES.bands;
      yield { type: "progress", step: "near duplicates", done: value, total, unit: "bands" };
    }
  }

  return {
    take,
    finish,
    dispose() {
      for (const writer of writers) {
        try {
          writer.close();
        } catch {
          // An error is on its way already, and what could not be written is discarded.
        }
      }
    },
  };
}

/**
 * For each key the candidate that is kept: the one with the newest date, where an absent date is the oldest of all, and
 * of equals the first. That is one order of all candidates, so the best of a cluster is the best of its group.
 */
function choose(candidates: readonly Candidate[], keyOf: (candidate: Candidate) => number): Map<number, number> {
  const best = new Map<number, number>();
  for (const [index, candidate] of candidates.entries()) {
    const key = keyOf(candidate);
    const other = best.get(key);
    if (other === undefined || candidate.date > candidates[other]!.date) best.set(key, index);
  }
  return best;
}

/** Writes lines to documents-00000.jsonl and so on, of bounded size. */
function createShards(
  dir: string,
  writers: JsonLinesWriter[],
): { write(line: Uint8Array): void; readonly documents: number; readonly bytes: number } {
  let count = 0;
  let current: JsonLinesWriter | undefined;
  let documents = 0;
  let bytes = 0;
  return {
    write(line) {
      if (current === undefined || current.bytes + line.length > SHARD_BYTES) {
        current?.close();
        current = createJsonLinesWriter(join(dir, `documents-${String(count).padStart(5, "0")}.jsonl`));
        writers.push(current);
        count += 1;
      }
      current.writeBytes(line);
      documents += 1;
      bytes += line.length + 1;
    },
    get documents() {
      return documents;
    },
    get bytes() {
      return bytes;
    },
  };
}
