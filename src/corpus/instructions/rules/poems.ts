// Instructions from poems: write a quatrain on a title, go on from a first line, name the author.
import type { Document } from "../../document.ts";
import { checkQuatrain, poemLines } from "../../verse/index.ts";
import { type Choose, defineInstructionRules, type DraftInstruction } from "../instruction.ts";

/** The wording that asks for a quatrain everywhere; half of the instructions use it, the rest those below. */
export const writeRequest = (title: string): string => `以《${title}》为题写一首五言绝句`;

const writeWordings: readonly ((title: string) => string)[] = [
  (title) => `请以《${title}》为题，写一首五言绝句。`,
  (title) => `写一首题为《${title}》的五言绝句。`,
  (title) => `作一首五言绝句，题目是《${title}》。`,
];
const continueWordings: readonly ((line: string) => string)[] = [
  (line) => `续写：${line}`,
  (line) => `请续写这首五言绝句：${line}，`,
  (line) => `首句是「${line}」，请写完这首五言绝句。`,
];
const authorWordings: readonly ((poem: string) => string)[] = [
  (poem) => `这首诗的作者是谁：${poem}`,
  (poem) => `下面这首诗是谁写的？\n${poem}`,
  (poem) => `${poem}\n这首诗出自谁的手笔？`,
];

/** Share of the quatrains that are continued, and of the poems whose author is asked for. */
const continueShare = 0.5;
const authorShare = 0.1;
const longestAuthorPoem = 8;

export default defineInstructionRules({
  summary: "write a five-character quatrain on a title, go on from its first line, name a poem's author",
  *make(document, choose): Generator<DraftInstruction> {
    const lines = document.meta.lines === undefined ? [] : poemLines(document.meta.lines.join("\n"));
    const title = topicOf(document);
    yield* quatrainInstructions(lines, title, choose);
    const { author } = document.meta;
    if (author && lines.length > 0 && lines.length <= longestAuthorPoem && choose("author") < authorShare) {
      const poem = document.meta.lines!.join("\n");
      yield { rule: "author", question: pick(authorWordings, choose("author-wording"))(poem), answer: author };
    }
  },
});

/** Only quatrains that keep every rule are taken, so that a model learns the rules with the form. */
function* quatrainInstructions(lines: readonly string[], title: string | undefined, choose: Choose) {
  // Each half of a regulated poem of eight lines is built as a quatrain is (截句).
  const quatrains = lines.length === 8 ? [lines.slice(0, 4), lines.slice(4)] : [lines];
  for (const [index, quatrain] of quatrains.entries()) {
    if (!checkQuatrain(quatrain.join("\n"), 5).passed) continue;
    const rule = quatrains.length === 1 ? "write" : `write-half-${index + 1}`;
    if (title !== undefined) {
      const wording = choose(`${rule}-wording`);
      const request = wording < 0.5 ? writeRequest : pick(writeWordings, 2 * wording - 1);
      yield { rule, question: request(title), answer: verse(quatrain), title };
    }
    if (quatrains.length === 1 && choose("continue") < continueShare) {
      const question = pick(continueWordings, choose("continue-wording"))(quatrain[0]!);
      // The answer goes on after the first line, so that question and answer together are the poem.
      yield { rule: "continue", question, answer: verse(quatrain).slice(quatrain[0]!.length + 1) };
    }
  }
}

/** Two couplets, one a line, with the punctuation that the corpus gives them. */
function verse([first, second, third, fourth]: readonly string[]): string {
  return `${first}，${second}。\n${third}，${fourth}。`;
}

function pick<Value>(values: readonly Value[], choice: number): Value {
  return values[Math.floor(choice * values.length)]!;
}

/** Titles that say that there is none, in both scripts. */
const nameless = new Set(["句", "诗", "詩", "失题", "失題", "缺题", "缺題", "阙题", "闕題", "绝句", "絕句"]);
const longestTitle = 12;

/** The title without the poem's number in its series; undefined where it is no short plain topic. */
export function topicOf(document: Document): string | undefined {
  const title = (document.meta.title ?? "")
    .replace(/\s+[其之]?[一二三四五六七八九十百]+$/u, "")
    .replace(/[一二三四五六七八九十百]+首$/u, "")
    .replace(/\s*其[一二三四五六七八九十]+$/u, "")
    .trim();
  if (!/^\p{Script=Han}+$/u.test(title) || Array.from(title).length > longestTitle) return undefined;
  return nameless.has(title) ? undefined : title;
}
