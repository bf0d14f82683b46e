// Derives src/corpus/verse/characters.ts: the tone and the rhyme group of each character, as Tang and Song poets used
// it. Run: node recipes/derive-verse-table.ts PACKAGE_DIR, with chinese-poetry 2.0.1 (npm, MIT) unpacked there;
// then npm run fix. It takes one to two minutes and gives the same table every time.
//
// 1. Marks. The package gives each poem's level (平), oblique (仄) or either (○) marks; their majority is the start.
// 2. Use. In poems of 4 or 8 lines that fit one of the two regulated templates, the marks that the metre decides
//    (positions 2 and 4, counted in the last five characters, and line ends) say how often a character was level.
// 3. Rhyme. In those poems the even lines rhyme in one of the 30 level groups of the Pingshui rhymes (平水韵): a
//    mixture of 30 multinomials, started from three or four characters of each group, fitted by expectation
//    maximisation. A character belongs to a group if at least 15% of its rhymes fall there.
// Each poem is counted twice, as written and in simplified characters, so that both scripts are covered.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Converter } from "opencc-js/t2cn";

/** The 30 level groups, and characters that every rhyme book puts there, with which the fit starts. */
const seeds: Record<string, string> = {
  一东: "東风風空红紅",
  二冬: "冬鐘钟松龍龙",
  三江: "江窗雙双",
  四支: "支時时知詩诗",
  五微: "微飛飞歸归衣",
  六鱼: "魚鱼書书居餘",
  七虞: "虞無无夫湖",
  八齐: "齊齐西低啼",
  九佳: "佳街鞋懷怀",
  十灰: "灰來来開开",
  十一真: "真人春新",
  十二文: "文雲云君聞闻",
  十三元: "元門门村魂",
  十四寒: "寒看安難难",
  十五删: "刪删山關关間间",
  一先: "先天年前",
  二萧: "蕭萧朝橋桥遙遥",
  三肴: "肴交郊巢",
  四豪: "豪高勞劳毛",
  五歌: "歌多何河",
  六麻: "麻花家霞",
  七阳: "陽阳香長长光",
  八庚: "庚聲声生明",
  九青: "青星亭庭",
  十蒸: "蒸僧燈灯冰",
  十一尤: "尤秋流樓楼",
  十二侵: "侵心深林",
  十三覃: "覃南潭三",
  十四盐: "鹽盐簾檐添",
  十五咸: "咸衫巖岩帆",
};
const groupNames = Object.keys(seeds);

/** Characters seen less often than this, in both scripts together, are left out. */
const leastUses = 12;
/** A second tone or rhyme group counts from this share of a character's uses. */
const leastShare = 0.15;
const emRounds = 30;

interface Poem {
  lines: string[][];
}
type Tone = "level" | "oblique" | "either";
interface Count {
  level: number;
  oblique: number;
  either: number;
}

const table = <Value>(): Map<string, Value> => new Map();

function* readPoems(packageDir: string): Generator<{ text: string; marks: string }> {
  const poems = join(packageDir, "dist/quantangshi");
  const marks = join(packageDir, "dist/strains/json");
  // Tang first, then Song, each by number: the order decides nothing but sums of floating-point numbers.
  const files = readdirSync(marks).filter((name) => /^poet\.(tang|song)\.\d+\.json$/.test(name));
  for (const name of files.toSorted()) {
    const strainsById = new Map<string, string[]>();
    for (const entry of JSON.parse(readFileSync(join(marks, name), "utf8")) as { id: string; strains: string[] }[]) {
      strainsById.set(entry.id, entry.strains);
    }
    for (const poem of JSON.parse(readFileSync(join(poems, name), "utf8")) as { id: string; paragraphs: string[] }[]) {
      const strains = strainsById.get(poem.id);
      if (strains) yield { text: poem.paragraphs.join(""), marks: strains.join("") };
    }
  }
}

const han = /^\p{Script=Han}$/u;

function countMarks(text: readonly string[], marks: readonly string[], counts: Map<string, Count>): void {
  for (let index = 0; index < text.length; index++) {
    const character = text[index]!;
    if (!han.test(character)) continue;
    let count = counts.get(character);
    if (!count) counts.set(character, (count = { level: 0, oblique: 0, either: 0 }));
    if (marks[index] === "平") count.level++;
    else if (marks[index] === "仄") count.oblique++;
    else if (marks[index] === "○") count.either++;
  }
}

function toneOfMarks(count: Count): Tone {
  const total = count.level + count.oblique + count.either;
  if (count.either / total >= 0.05) return "either";
  if (Math.min(count.level, count.oblique) / total >= leastShare) return "either";
  return count.level > count.oblique ? "level" : "oblique";
}

/** Lines of five or seven characters, 4 or 8 of them, or nothing. */
function quatrainLines(text: string): string[][] | undefined {
  const lines = text
    .split(/[，。？！；]/u)
    .filter((line) => line !== "")
    .map((line) => [...line]);
  const length = lines[0]?.length;
  if ((lines.length !== 4 && lines.length !== 8) || (length !== 5 && length !== 7)) return undefined;
  return lines.every((line) => line.length === length && line.every((character) => han.test(character)))
    ? lines
    : undefined;
}

/** The tone that the template wants at a place, or undefined where it leaves the choice. `place` 1..5 in the tail. */
function templateTone(firstLevel: boolean, line: number, place: number): "level" | "oblique" | undefined {
  // Second characters of lines run a, b, b, a, a, b, b, a: opposite within a couplet, equal between couplets.
  const secondLevel = line % 4 === 0 || line % 4 === 3 ? firstLevel : !firstLevel;
  if (place === 2) return secondLevel ? "level" : "oblique";
  if (place === 4) return secondLevel ? "oblique" : "level";
  if (place === 5 && line > 0) return line % 2 === 1 ? "level" : "oblique";
  return undefined;
}

/** Which template the poem fits, by its characters of one tone: at least 93% of the decided places must agree. */
function fitTemplate(poem: Poem, tones: Map<string, Tone>): boolean | undefined {
  for (const firstLevel of [true, false]) {
    let agree = 0;
    let decided = 0;
    poem.lines.forEach((line, index) => {
      for (const place of [2, 4, 5]) {
        const tone = tones.get(line[line.length - 6 + place]!);
        const wanted = templateTone(firstLevel, index, place);
        if (wanted === undefined || tone === undefined || tone === "either") continue;
        decided++;
        if (tone === wanted) agree++;
      }
    });
    if (decided >= poem.lines.length * 2 && agree / decided >= 0.93) return firstLevel;
  }
  return undefined;
}

/** Fits the mixture; returns for each character how often it rhymed in each group. */
function fitRhymes(rhymes: readonly string[][]): Map<string, Float64Array> {
  const groups = groupNames.length;
  let weights = table<Float64Array>();
  const row = (map: Map<string, Float64Array>, character: string): Float64Array => {
    let found = map.get(character);
    if (!found) map.set(character, (found = new Float64Array(groups)));
    return found;
  };
  const seedGroups = table<number>();
  groupNames.forEach((name, group) => {
    for (const character of seeds[name]!) {
      row(weights, character)[group] = 50;
      seedGroups.set(character, group);
    }
  });
  const scores = new Float64Array(groups);
  for (let round = 0; round < emRounds; round++) {
    const totals = new Float64Array(groups);
    for (const counts of weights.values())
      for (let group = 0; group < groups; group++) totals[group]! += counts[group]!;
    const next = table<Float64Array>();
    for (const poem of rhymes) {
      let highest = -Infinity;
      for (let group = 0; group < groups; group++) {
        let score = 0;
        for (const character of poem) {
          const seedGroup = seedGroups.get(character);
          const count =
            seedGroup !== undefined && seedGroup !== group ? 1e-6 : (weights.get(character)?.[group] ?? 0) + 0.01;
          score += Math.log(count / (totals[group]! + 50));
        }
        scores[group] = score;
        highest = Math.max(highest, score);
      }
      let sum = 0;
      for (let group = 0; group < groups; group++) sum += scores[group] = Math.exp(scores[group]! - highest);
      // A poem that no group explains well teaches nothing.
      if (1 / sum < 0.9) continue;
      for (const character of poem) {
        const counts = row(next, character);
        for (let group = 0; group < groups; group++) counts[group]! += scores[group]! / sum;
      }
    }
    weights = next;
  }
  return weights;
}

function main(packageDir: string, output: string): void {
  const simplify = Converter({ from: "t", to: "cn" });
  const marks = table<Count>();
  const poems: Poem[] = [];
  for (const { text, marks: strains } of readPoems(packageDir)) {
    const lines = quatrainLines(text);
    const markList = [...strains];
    for (const script of [text, simplify(text)]) {
      const characters = [...script];
      if (characters.length === markList.length) countMarks(characters, markList, marks);
      const scriptLines = script === text ? lines : quatrainLines(script);
      if (lines && scriptLines) poems.push({ lines: scriptLines });
    }
  }
  const tones = new Map([...marks].map(([character, count]) => [character, toneOfMarks(count)]));

  const decided = table<{ level: number; oblique: number }>();
  const rhymes: string[][] = [];
  let fitting = 0;
  for (const poem of poems) {
    const firstLevel = fitTemplate(poem, tones);
    if (firstLevel === undefined) continue;
    fitting++;
    poem.lines.forEach((line, index) => {
      for (const place of [2, 4, 5]) {
        const wanted = templateTone(firstLevel, index, place);
        const character = line[line.length - 6 + place]!;
        if (wanted === undefined) continue;
        let count = decided.get(character);
        if (!count) decided.set(character, (count = { level: 0, oblique: 0 }));
        count[wanted]++;
      }
    });
    rhymes.push(poem.lines.filter((_, index) => index % 2 === 1).map((line) => line.at(-1)!));
  }

  const rhymeCounts = fitRhymes(rhymes);
  const byGroup = groupNames.map(() => [] as string[]);
  const level: string[] = [];
  const oblique: string[] = [];
  const either: string[] = [];
  for (const [character, count] of [...marks].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (count.level + count.oblique + count.either < leastUses) continue;
    let tone = toneOfMarks(count);
    const use = decided.get(character);
    const groups = rhymeCounts.get(character);
    const total = groups ? groups.reduce((sum, value) => sum + value, 0) : 0;
    // What the metre decided outweighs the marks, where there is enough of it: the marks lack the level readings of
    // 忘, 予 or 醒 and the oblique ones of 為 or 任. The bounds are uneven because a stray oblique is rarer than a
    // stray level in the poems that fit.
    if (use && use.level + use.oblique >= 30) {
      const share = use.level / (use.level + use.oblique);
      tone = share >= 0.9 ? "level" : share <= 0.06 ? "oblique" : "either";
    }
    if (tone === "oblique") {
      oblique.push(character);
      continue;
    }
    if (tone === "either") either.push(character);
    let grouped = false;
    groupNames.forEach((_, group) => {
      if (!groups || groups[group]! < 3 || groups[group]! / total < leastShare) return;
      byGroup[group]!.push(character);
      grouped = true;
    });
    if (!grouped && tone === "level") level.push(character);
  }
  const lines = [
    "// Generated by recipes/derive-verse-table.ts from chinese-poetry 2.0.1 (npm, MIT): tones and rhyme groups of",
    "// characters, traditional and simplified, as Tang and Song poets used them. Not a rhyme book: see that file.",
    "",
    "/** Characters of each of the 30 level groups of the Pingshui rhymes (平水韵); a character may stand in two. */",
    "export const rhymeGroupCharacters: Readonly<Record<string, string>> = {",
    ...groupNames.map((name, group) => `  ${name}: "${byGroup[group]!.join("")}",`),
    "};",
    "/** Level characters that were not met in rhyme. */",
    `export const otherLevelCharacters = "${level.join("")}";`,
    `export const obliqueCharacters = "${oblique.join("")}";`,
    "/** Characters used in both tones, by meaning; those that also rhyme stand in a group above as well. */",
    `export const eitherToneCharacters = "${either.join("")}";`,
    "",
  ];
  writeFileSync(output, lines.join("\n"));
  console.log(
    `${poems.length} texts of 4 or 8 lines (both scripts), ${fitting} fit a template; ` +
      `${byGroup.flat().length} characters in ${groupNames.length} groups, ${level.length} other level, ` +
      `${oblique.length} oblique, ${either.length} either.`,
  );
}

const packageDir = process.argv[2];
if (packageDir === undefined)
  throw new Error("Give the unpacked chinese-poetry package: node recipes/derive-verse-table.ts DIR");
main(packageDir, process.argv[3] ?? join(import.meta.dirname, "../src/corpus/verse/characters.ts"));
