// The stories of a folder of TinyStories excerpts: cut apart, capitals restored where a file lacks them, none twice.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** How stories begin, where nothing but a line break parts them. */
const openings = /^(?:once upon a time|one (?:\w+ )?(?:day|morning|night|evening)|there was|there once|long ago)/i;
const shortest = 200;

/** Reads every .txt file of a folder, largest last; stories in order of the files. */
export function readStories(folder: string): string[] {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".txt"))
    .sort()
    .map((name) => readFileSync(join(folder, name), "utf8").replaceAll("\r", ""));
  const cased = files.filter((text) => /[A-Z]/.test(text));
  const capitals = learnCapitals(cased);
  // Cased files come first: of two copies of a story the one with its own capitals stays.
  const texts = [...cased, ...files.filter((text) => !cased.includes(text)).map((text) => restore(text, capitals))];
  const stories = new Map<string, string>();
  for (const text of texts) {
    for (const story of cut(text)) {
      const key = story.toLowerCase().replace(/[^a-z]+/g, "");
      if (story.length >= shortest && !stories.has(key)) stories.set(key, story);
    }
  }
  return [...stories.values()];
}

function cut(text: string): string[] {
  if (text.includes("<|endoftext|>")) return text.split("<|endoftext|>").map(tidy);
  const stories: string[] = [];
  for (const line of text.split("\n")) {
    if (stories.length === 0 || openings.test(line)) stories.push(line);
    else stories[stories.length - 1] += `\n${line}`;
  }
  return stories.map(tidy);
}

/** Paragraphs are parted by one empty line. */
function tidy(story: string): string {
  return story.trim().replace(/\s*\n\s*/g, "\n\n");
}

/** Words that are mostly written with a capital where no sentence begins. */
function learnCapitals(texts: readonly string[]): Set<string> {
  const counts = new Map<string, { capital: number; small: number }>();
  for (const text of texts) {
    for (const [, word] of text.matchAll(/[a-z,;] ([A-Za-z][a-z']*)/g)) {
      const count = counts.get(word!.toLowerCase()) ?? { capital: 0, small: 0 };
      if (/^[A-Z]/.test(word!)) count.capital++;
      else count.small++;
      counts.set(word!.toLowerCase(), count);
    }
  }
  return new Set([...counts].filter(([, { capital, small }]) => capital > small).map(([word]) => word));
}

/** Capitals where sentences begin, and for names. */
function restore(text: string, capitals: ReadonlySet<string>): string {
  return text
    .replace(/[a-z][a-z']*/g, (word) => (capitals.has(word) ? word[0]!.toUpperCase() + word.slice(1) : word))
    .replace(
      /(^|[.!?]["”]? +|\n"?|[,.!?] ")([a-z])/g,
      (_, before: string, letter: string) => before + letter.toUpperCase(),
    );
}
