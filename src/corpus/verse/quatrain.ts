// Checks a poem against the rules of the regulated quatrain (近体绝句): form, rhyme and tones, each with its own answer
// and a sentence for every fault. Not a judge of sense, diction or parallelism.
//
// The rules are the core of Wang Li's 诗词格律, those on which the handbooks agree and which Tang poets keep:
//   form         four lines, each of five (or each of seven) characters.
//   rhyme        lines 2 and 4 end in different characters of one level rhyme group (平水韵); line 1, where it ends
//                level, joins them, in a neighbouring group at the furthest.
//   alternation  places 2, 4 (and 6) of a line alternate between level and oblique (二四六分明). Two licensed forms
//                stand: 平平仄平仄 for 平平平仄仄, and a line before a rhyme with places 2 and 4 both oblique, rescued
//                by a level third character in the next line (拗救).
//   opposition   the lines of a couplet are opposite at place 2 (对).
//   adhesion     lines 2 and 3 are equal at place 2 (粘).
//   endings      lines 2 and 4 end level, line 3 ends oblique.
// In lines of seven the last five characters follow the rules of five and place 2 is opposite to place 4.
// Left to the poet: places 1 and 3 (and 5), so neither 孤平 nor 三平尾 is tested.
import { nearlyRhymes, rhymeGroupsOf, rhymes, type Tone, toneOf } from "./tones.ts";

export const ruleNames = ["form", "rhyme", "alternation", "opposition", "adhesion", "endings"] as const;
export type RuleName = (typeof ruleNames)[number];

/** What each rule asks, for people. */
export const ruleTitles: Readonly<Record<RuleName, { chinese: string; english: string }>> = {
  form: { chinese: "四句，每句字数相同", english: "four lines of equal length" },
  rhyme: { chinese: "押平声韵", english: "rhyme on a level tone" },
  alternation: { chinese: "句内平仄相间", english: "tones alternate within a line" },
  opposition: { chinese: "联内平仄相对", english: "lines of a couplet are opposite" },
  adhesion: { chinese: "联间平仄相粘", english: "couplets are joined by equal tones" },
  endings: { chinese: "句脚平仄", english: "tones of line endings" },
};

export interface Fault {
  rule: RuleName;
  /** Counted from 1; absent where the fault is the whole poem's. */
  line?: number;
  /** Place in the line, counted from 1. */
  position?: number;
  chinese: string;
  english: string;
}

export interface QuatrainCheck {
  /** The lines found, without punctuation. */
  lines: readonly string[];
  /** Each rule's answer. Where the form fails the other rules cannot be tested and are false. */
  rules: Readonly<Record<RuleName, boolean>>;
  /** All four rules of tone: alternation, opposition, adhesion, endings. */
  tones: boolean;
  /** Every rule. */
  passed: boolean;
  faults: readonly Fault[];
}

const longestText = 4000;
const separators = /[\s，。？！；、：,.?!;:]+/u;
const hanLine = /^\p{Script=Han}+$/u;

/** The lines of a poem: split at white space and punctuation, which are dropped. */
export function poemLines(text: string): string[] {
  return text.split(separators).filter((line) => line !== "");
}

/**
 * Checks a quatrain. The text is the poem alone: lines parted by punctuation or line breaks.
 * @param characters Length of a line; either of 5 and 7 will do where it is not given.
 */
export function checkQuatrain(text: string, characters?: 5 | 7): QuatrainCheck {
  const lines = text.length > longestText ? [] : poemLines(text);
  const faults = formFaults(lines, characters);
  if (faults.length > 0) return result(lines, faults, true);
  const poem = lines.map((line) => Array.from(line));
  faults.push(...rhymeFaults(poem), ...patternFaults(poem), ...endingFaults(poem));
  return result(lines, faults, false);
}

function result(lines: readonly string[], faults: readonly Fault[], formFailed: boolean): QuatrainCheck {
  const passes = (rule: RuleName): boolean => !formFailed && !faults.some((fault) => fault.rule === rule);
  const rules = {
    form: passes("form"),
    rhyme: passes("rhyme"),
    alternation: passes("alternation"),
    opposition: passes("opposition"),
    adhesion: passes("adhesion"),
    endings: passes("endings"),
  };
  const tones = rules.alternation && rules.opposition && rules.adhesion && rules.endings;
  return { lines, rules, tones, passed: rules.form && rules.rhyme && tones, faults };
}

function formFaults(lines: readonly string[], characters: 5 | 7 | undefined): Fault[] {
  const faults: Fault[] = [];
  if (lines.length !== 4) {
    faults.push({
      rule: "form",
      chinese: `应为四句，实为${lines.length}句`,
      english: `${lines.length} lines, 4 expected`,
    });
    return faults;
  }
  const first = Array.from(lines[0]!).length;
  const length = characters ?? (first === 7 ? 7 : 5);
  lines.forEach((line, index) => {
    const number = index + 1;
    const found = Array.from(line).length;
    if (found !== length) {
      faults.push({
        rule: "form",
        line: number,
        chinese: `第${number}句有${found}字，应为${length}字`,
        english: `line ${number} has ${found} characters, ${length} expected`,
      });
    } else if (!hanLine.test(line)) {
      faults.push({
        rule: "form",
        line: number,
        chinese: `第${number}句有非汉字`,
        english: `line ${number} holds a character that is not Chinese`,
      });
    }
  });
  return faults;
}

const chineseTone = { level: "平", oblique: "仄" } as const;
const opposite = { level: "oblique", oblique: "level" } as const;
type Mark = keyof typeof opposite;

function toneFault(rule: RuleName, poem: readonly string[][], line: number, place: number, wanted: Mark): Fault {
  const character = poem[line]![place]!;
  const tone = toneOf(character);
  const where = { line: line + 1, position: place + 1 };
  const chinese = tone === undefined ? "平仄不明" : tone === "either" ? "平仄两读" : `是${chineseTone[tone]}声`;
  const english = tone === undefined ? "of unknown tone" : tone;
  return {
    rule,
    ...where,
    chinese: `第${where.line}句第${where.position}字「${character}」${chinese}，应为${chineseTone[wanted]}声`,
    english: `line ${where.line}, character ${where.position} '${character}' is ${english}, ${wanted} expected`,
  };
}

/** Whether a tone may stand where `wanted` is; an unknown tone may not, since nothing shows that it fits. */
const suits = (tone: Tone | undefined, wanted: Mark): boolean => tone === wanted || tone === "either";

function rhymeFaults(poem: readonly string[][]): Fault[] {
  const [first, second, , fourth] = poem.map((line) => line.at(-1)!) as [string, string, string, string];
  const faults: Fault[] = [];
  const fault = (line: number, chinese: string, english: string): void => {
    faults.push({ rule: "rhyme", line, position: poem[line - 1]!.length, chinese, english });
  };
  const describe = (character: string): { chinese: string; english: string } => {
    const groups = rhymeGroupsOf(character);
    const tone = toneOf(character);
    if (groups.length > 0)
      return {
        chinese: `「${character}」属${groups.join("、")}`,
        english: `'${character}' is in ${groups.join(", ")}`,
      };
    return tone === "oblique"
      ? { chinese: `「${character}」是仄声`, english: `'${character}' is oblique` }
      : { chinese: `「${character}」韵部不明`, english: `the rhyme group of '${character}' is unknown` };
  };
  if (second === fourth) {
    fault(4, `第2句与第4句同押「${fourth}」字`, `lines 2 and 4 both end in '${fourth}', two characters expected`);
  } else if (!rhymes(second, fourth)) {
    const [of2, of4] = [describe(second), describe(fourth)];
    fault(
      4,
      `第2、4句不押平声韵：${of2.chinese}，${of4.chinese}`,
      `lines 2 and 4 share no level rhyme: ${of2.english}, ${of4.english}`,
    );
  }
  // An oblique first line stands outside the rhyme, and so may one of either tone.
  if (toneOf(first) === "level" && !nearlyRhymes(first, second) && !nearlyRhymes(first, fourth)) {
    const [of1, of2] = [describe(first), describe(second)];
    fault(
      1,
      `首句以平声收而不入韵：${of1.chinese}，${of2.chinese}`,
      `line 1 ends level and must rhyme: ${of1.english}, ${of2.english}`,
    );
  }
  return faults;
}

function endingFaults(poem: readonly string[][]): Fault[] {
  const faults: Fault[] = [];
  for (const [line, wanted] of [
    [1, "level"],
    [2, "oblique"],
    [3, "level"],
  ] as const) {
    const place = poem[line]!.length - 1;
    if (!suits(toneOf(poem[line]![place]!), wanted)) faults.push(toneFault("endings", poem, line, place, wanted));
  }
  return faults;
}

/** Alternation, opposition and adhesion. */
function patternFaults(poem: readonly string[][]): Fault[] {
  const faults: Fault[] = [];
  const tones = poem.map((line) => line.map(toneOf));
  const seconds = secondTones(tones);
  const names = ["", "", "", ""];
  seconds.forEach((second, line) => {
    const length = poem[line]!.length;
    names[line] = `${chineseTone[second]}`;
    for (let place = 1; place < length; place += 2) {
      const wanted = place % 4 === 1 ? second : opposite[second];
      if (suits(tones[line]![place], wanted)) continue;
      if (isLicensed(tones, line)) continue;
      faults.push(toneFault("alternation", poem, line, place, wanted));
    }
  });
  const pair = (rule: RuleName, upper: number, equal: boolean): void => {
    if ((seconds[upper] === seconds[upper + 1]) === equal) return;
    const [a, b] = [upper + 1, upper + 2];
    faults.push({
      rule,
      line: b,
      position: 2,
      chinese: `第${a}句与第${b}句${equal ? "失粘" : "失对"}：第2字「${poem[upper]![1]!}」${names[upper]!}、「${poem[upper + 1]![1]!}」${names[upper + 1]!}，应${equal ? "相同" : "相反"}`,
      english: `lines ${a} and ${b}, character 2: '${poem[upper]![1]!}' is ${seconds[upper]!} and '${poem[upper + 1]![1]!}' is ${seconds[upper + 1]!}, ${equal ? "equal" : "opposite"} tones expected`,
    });
  };
  pair("opposition", 0, false);
  pair("adhesion", 1, true);
  pair("opposition", 2, false);
  return faults;
}

/**
 * The tone that each line has at place 2. Where its own character reads both ways, places 4 and 6 decide; where they
 * do not either, the reading that satisfies most of opposition and adhesion, as a reader would choose it.
 */
function secondTones(tones: readonly (Tone | undefined)[][]): Mark[] {
  const known = tones.map((line): Mark | undefined => {
    for (let place = 1; place < line.length; place += 2) {
      const tone = line[place];
      if (tone === "level" || tone === "oblique") return place % 4 === 1 ? tone : opposite[tone];
    }
    return undefined;
  });
  let best: Mark[] = [];
  let bestScore = -1;
  for (let choice = 0; choice < 16; choice++) {
    const candidate = known.map((mark, line) => mark ?? ((choice >> line) & 1 ? "level" : "oblique"));
    const score =
      Number(candidate[0] !== candidate[1]) +
      Number(candidate[1] === candidate[2]) +
      Number(candidate[2] !== candidate[3]);
    if (score > bestScore) [best, bestScore] = [candidate, score];
  }
  return best;
}

/** Whether a line's tail is one of the two licensed forms. Place numbers are those of the last five characters. */
function isLicensed(tones: readonly (Tone | undefined)[][], line: number): boolean {
  const tail = tones[line]!.slice(-5);
  const has = (marks: string, places: readonly (Tone | undefined)[]): boolean =>
    Array.from(marks).every((mark, index) => {
      if (mark === "－") return true;
      return suits(places[index], mark === "平" ? "level" : "oblique");
    });
  // In lines of seven, place 2 must still be opposite to the tail's second.
  const head = tones[line]!.length === 7 ? tones[line]![1] : undefined;
  if (has("－平仄平仄", tail)) return head === undefined || suits(head, "oblique");
  const next = tones[line + 1];
  if (next && line % 2 === 0 && has("－仄－仄仄", tail) && has("－平平仄平", next.slice(-5))) {
    return head === undefined || suits(head, "level");
  }
  return false;
}
