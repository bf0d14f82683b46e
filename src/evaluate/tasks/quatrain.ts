// Writes five-character quatrains on given titles and counts how many keep each rule of verse.
import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeRequest } from "../../corpus/instructions/index.ts";
import { readJsonLines } from "../../formats/jsonl.ts";
import { Failure } from "../../protocol/errors.ts";
import { randomPermutation } from "../../tensor/index.ts";
import { quatrainScorer, scoreQuatrain } from "../scorers/quatrain.ts";
import { defineTask, type Sample } from "../task.ts";

/** 24 characters and a line break, with room for a tokenizer that takes three tokens a character. */
const maxTokens = 80;

interface Topic {
  title: string;
  seed: number;
}

export default defineTask<Topic>({
  summary: "share of quatrains written on held-out titles (--titles) that keep form, rhyme and tones",
  scorer: quatrainScorer,
  metrics: [
    { name: "form", title: "form: four lines of five", kind: "share", value: "form" },
    { name: "rhyme", title: "rhyme", kind: "share", value: "rhyme" },
    { name: "tones", title: "tones", kind: "share", value: "tones" },
    { name: "all", title: "every rule", kind: "share", value: "all" },
  ],
  async *samples({ samples, seed, titles: path }): AsyncGenerator<Sample<Topic>> {
    const titles = path === undefined ? builtInTitles : await readTitles(path);
    const order = randomPermutation(seed, 0, titles.length);
    for (let index = 0; index < samples; index++) {
      // Where the titles are used up, they come again with other seeds.
      const topic = { title: titles[order[index % titles.length]!]!, seed: seed + index };
      yield { id: `${topic.title}#${topic.seed}`, data: topic };
    }
  },
  ask: ({ data: { title, seed } }, { temperature, topP }) => ({
    kind: "generate",
    request: {
      input: { messages: [{ role: "user", content: writeRequest(title) }] },
      maxTokens,
      temperature,
      topP,
      seed,
    },
  }),
  score(answer) {
    if (answer.kind !== "generate") throw new TypeError("the task quatrain generates texts");
    return scoreQuatrain(answer.text);
  },
});

/** Season or hour, and what a poem of it is about: 210 titles for models that were trained on anything. */
const builtInTitles = Array.from("春夏秋冬晓暮夜山江雨雪月风寒").flatMap((time) =>
  ["行", "望", "思", "怨", "居", "中即事", "日寄友", "亭", "夜独坐", "中送客", "寺", "柳", "村", "溪", "怀古"].map(
    (subject) => time + subject,
  ),
);

async function readTitles(path: string): Promise<string[]> {
  if (!existsSync(path)) throw new Failure("usage", `there is no ${path}`, "Check the path given as --titles.");
  const file = statSync(path).isDirectory() ? join(path, "heldout.jsonl") : path;
  if (!existsSync(file)) {
    throw new Failure("usage", `there is no ${file}`, "Give --titles with an instructions directory or a file.");
  }
  const titles = new Set<string>();
  if (file.endsWith(".jsonl")) {
    for await (const { line, ...entry } of readJsonLines(file)) {
      if (!("value" in entry))
        throw new Failure("input", `${file}:${line}: ${entry.error}`, "Mend or remove the line.");
      const { meta } = (entry.value ?? {}) as { meta?: { title?: unknown } };
      if (typeof meta?.title === "string" && meta.title !== "") titles.add(meta.title);
    }
  } else {
    for (const line of (await readFile(file, "utf8")).split(/\r?\n/)) if (line.trim() !== "") titles.add(line.trim());
  }
  if (titles.size === 0) {
    throw new Failure("input", `${file} holds no titles`, "Hold out a larger share of the instructions.");
  }
  return [...titles];
}
