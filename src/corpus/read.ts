// Reads a corpus directory back, document by document.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readJsonLines } from "../formats/jsonl.ts";
import { readManifest } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Document } from "./document.ts";

const documentSchema = z.object({
  id: z.string(),
  text: z.string(),
  meta: z.looseObject({
    source: z.string(),
    title: z.string().optional(),
    author: z.string().optional(),
    dynasty: z.string().optional(),
    date: z.string().optional(),
    lines: z.array(z.string()).optional(),
    tones: z.array(z.string()).optional(),
  }),
});

/**
 * The documents of a corpus in their order.
 * @throws Failure "input" where the directory is no corpus or a line of it is damaged.
 */
export async function* readCorpus(dir: string): AsyncGenerator<Document, void, void> {
  const { metrics } = readManifest(dir, "corpus");
  const names = readdirSync(dir).filter((name) => /^documents-\d{5}\.jsonl$/.test(name));
  let documents = 0;
  for (const name of names.sort()) {
    const path = join(dir, name);
    for await (const line of readJsonLines(path)) {
      const parsed = "value" in line ? documentSchema.safeParse(line.value) : undefined;
      if (!parsed?.success) {
        const issue = parsed?.error.issues[0];
        const reason = issue === undefined ? line.error : `field ${issue.path.join(".")}: ${issue.message}`;
        throw new Failure("input", `${path}:${line.line}: ${reason}`, "Make the corpus again with lianlu data.");
      }
      documents += 1;
      yield parsed.data as Document;
    }
  }
  if (documents !== metrics["documents"]) {
    const what = `${dir} has ${documents} documents, its manifest says ${String(metrics["documents"])}`;
    throw new Failure("input", what, "Files of it are missing or were added; make it again with lianlu data.");
  }
}
