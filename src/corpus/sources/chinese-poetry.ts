// The npm package chinese-poetry: 57 thousand Tang and 255 thousand Song poems as JSON, with their tone patterns.
// Editors' marks are taken out of the poems here, since only here it is known what they mean.
import { existsSync, readFileSync } from "node:fs";
import { parseJsonBytes } from "../../formats/jsonl.ts";
import type { SourceItem } from "../document.ts";
import { readJsonElements } from "../../formats/json-array.ts";
import { defineSource } from "../source.ts";

const POEMS = /^dist\/quantangshi\/poet\.(tang|song)\.\d+\.json$/;
const TONES_FOLDER = "dist/strains/json/";
const POEMS_FOLDER = "dist/quantangshi/";

export default defineSource({
  summary: "Tang and Song poems with tone patterns (chinese-poetry)",
  version: "2.0.1",
  isData: (file) => POEMS.test(file),
  belongsTo: (file) => (file.startsWith(TONES_FOLDER) ? file.replace(TONES_FOLDER, POEMS_FOLDER) : undefined),
  async *read(folder) {
    for (const file of folder.files) {
      const dynasty = POEMS.exec(file)![1]!;
      const tones = readTones(folder.path(file.replace(POEMS_FOLDER, TONES_FOLDER)));
      for (const { line, offset, bytes, ...element } of readJsonElements(readFileSync(folder.path(file)))) {
        const place = { file, line, offset };
        const broken = (reason: string): SourceItem => ({ type: "broken", place, reason, bytes });
        if (element.error !== undefined) {
          yield broken(element.error);
          continue;
        }
        const poem = "value" in element ? readPoem(element.value) : undefined;
        if (poem === undefined) {
          yield broken("no poem: expected the strings id, title, author and an array of strings paragraphs");
          continue;
        }
        const { id, title, author, paragraphs } = poem;
        const lines = withoutEditorsMarks(paragraphs.join("\n")).split("\n").filter(isVerse);
        const patterns = tones.get(id);
        const aligned = patterns === undefined ? undefined : alignTones(lines, patterns);
        yield {
          type: "document",
          place,
          document: {
            id,
            content: aligned === undefined ? { lines } : { lines, tones: aligned },
            meta: { title: withoutEditorsMarks(title), author: withoutEditorsMarks(author), dynasty },
          },
        };
      }
    }
  },
});

interface Poem {
  id: string;
  title: string;
  author: string;
  paragraphs: string[];
}

function readPoem(value: unknown): Poem | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, title, author, paragraphs } = value as Partial<Poem>;
  if (typeof id !== "string" || typeof title !== "string" || typeof author !== "string") return undefined;
  if (!Array.isArray(paragraphs) || !paragraphs.every((line) => typeof line === "string")) return undefined;
  return { id, title, author, paragraphs };
}

/** Tone patterns by the poem's id. They are an extra: a file of them that is absent or broken costs no poem. */
function readTones(path: string): Map<string, string[]> {
  const tones = new Map<string, string[]>();
  if (!existsSync(path)) return tones;
  const { value } = { value: undefined, ...parseJsonBytes(readFileSync(path)) };
  if (!Array.isArray(value)) return tones;
  for (const { id, strains } of value as { id?: unknown; strains?: unknown }[]) {
    if (typeof id === "string" && Array.isArray(strains)) tones.set(id, strains.map(String));
  }
  return tones;
}

/**
 * Takes out notes such as （一作「風」）, which give another reading or a reference, and the brackets of characters
 * that the editors restored: [龍] is 龍. A note may run over several lines; unpaired brackets stay for the filters.
 */
function withoutEditorsMarks(text: string): string {
  let result = text;
  for (let before = ""; before !== result;) {
    before = result;
    result = result.replace(/（[^（）]*）|〖[^〖〗]*〗/g, "");
  }
  // A note's own full stop stays behind the line's.
  return result.replace(/([。！？])。+/g, "$1").replace(/\[(\p{Script=Han}{1,8})\]/gu, "$1");
}

/** What is left of a note's line is its full stop. */
const isVerse = (line: string): boolean => /[^\s。，、；：？！]/u.test(line);

/** Quotation and book marks, which the package's patterns leave out. */
const NOT_IN_PATTERNS = /[《》「」『』〈〉]/u;

/**
 * Fits the package's patterns to the lines: one symbol for each character, punctuation as in the line.
 * @returns undefined where they do not fit.
 */
function alignTones(lines: readonly string[], patterns: readonly string[]): string[] | undefined {
  if (lines.length !== patterns.length) return undefined;
  const aligned: string[] = [];
  for (const [index, line] of lines.entries()) {
    const pattern = [...patterns[index]!];
    let at = 0;
    let tones = "";
    for (const character of line) {
      if (NOT_IN_PATTERNS.test(character)) {
        tones += character;
        continue;
      }
      const symbol = pattern[at++];
      if (symbol === undefined) return undefined;
      if (!/\p{L}/u.test(character)) tones += character;
      else tones += "平仄○".includes(symbol) ? symbol : "？";
    }
    if (at !== pattern.length) return undefined;
    aligned.push(tones);
  }
  return aligned;
}
