// Tone and rhyme of one character in the Middle Chinese that Tang verse is written in. Not modern pronunciation:
// 一, 白, 十, 月 are oblique here (the entering tone, lost in Mandarin).
import { eitherToneCharacters, obliqueCharacters, otherLevelCharacters, rhymeGroupCharacters } from "./characters.ts";

/** Level 平, oblique 仄, or either by meaning. */
export type Tone = "level" | "oblique" | "either";

/** Groups near enough for a first line to join the rhyme (邻韵), after Wang Li, 汉语诗律学. */
const neighbours: readonly (readonly string[])[] = [
  ["一东", "二冬"],
  ["三江", "七阳"],
  ["四支", "五微", "八齐"],
  ["六鱼", "七虞"],
  ["九佳", "十灰"],
  ["十一真", "十二文", "十三元"],
  ["十三元", "十四寒", "十五删", "一先"],
  ["二萧", "三肴", "四豪"],
  ["八庚", "九青", "十蒸"],
  ["十三覃", "十四盐", "十五咸"],
];

interface Tables {
  tones: Map<string, Tone>;
  groups: Map<string, readonly string[]>;
}
let built: Tables | undefined;

function tables(): Tables {
  if (built) return built;
  const tones = new Map<string, Tone>();
  const groups = new Map<string, readonly string[]>();
  for (const [name, characters] of Object.entries(rhymeGroupCharacters)) {
    for (const character of characters) {
      tones.set(character, "level");
      groups.set(character, [...(groups.get(character) ?? []), name]);
    }
  }
  for (const character of otherLevelCharacters) tones.set(character, "level");
  for (const character of obliqueCharacters) tones.set(character, "oblique");
  for (const character of eitherToneCharacters) tones.set(character, "either");
  built = { tones, groups };
  return built;
}

/** The tone of a character, traditional or simplified; undefined where the table does not know it. */
export function toneOf(character: string): Tone | undefined {
  return tables().tones.get(character);
}

/** Names of the level groups of the Pingshui rhymes (平水韵) that a character belongs to; none if it is oblique. */
export function rhymeGroupsOf(character: string): readonly string[] {
  return tables().groups.get(character) ?? [];
}

/** Whether two characters share a level rhyme group. A character does not rhyme with itself. */
export function rhymes(first: string, second: string): boolean {
  if (first === second) return false;
  const groups = rhymeGroupsOf(second);
  return rhymeGroupsOf(first).some((group) => groups.includes(group));
}

/** Every character that rhymes with this one, in the order of the table; none where it is oblique or unknown. */
export function charactersRhymingWith(character: string): string[] {
  return [...tables().groups.keys()].filter((candidate) => rhymes(character, candidate));
}

/** Whether two characters stand in the same or in neighbouring groups, as a first line may (孤雁入群). */
export function nearlyRhymes(first: string, second: string): boolean {
  if (first === second) return false;
  const groups = rhymeGroupsOf(second);
  return rhymeGroupsOf(first).some((group) =>
    groups.some((other) => group === other || neighbours.some((set) => set.includes(group) && set.includes(other))),
  );
}

/** The marks of a text: 平, 仄, ○ for either, ？ for unknown; other characters stay as they are. */
export function toneMarks(text: string): string {
  return Array.from(text, (character) => {
    if (!/\p{Script=Han}/u.test(character)) return character;
    const tone = toneOf(character);
    switch (tone) {
      case "level":
        return "平";
      case "oblique":
        return "仄";
      case "either":
        return "○";
      case undefined:
        return "？";
      default:
        return tone satisfies never;
    }
  }).join("");
}
