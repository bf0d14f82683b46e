// Generated lines for comparing tokenizers with the libraries that define them: mixed scripts, emoji, combining marks,
// control characters, odd spaces, broken surrogates. The same numbers give the same lines on every machine.
import { createRandom } from "./test-support.ts";
import { createHash } from "node:crypto";

const words = (text: string) => text.split(" ");
const english = words(
  "the of and to in a is that for it with as was on be at by this have from or one had not but what all were when we " +
    "there can an your which their said if do will each about how up out them then she many some so these would " +
    "internationalization antidisestablishmentarianism HTTPServer camelCase snake_case don't we'll I'VE O'Brien naïve",
);
const code = words(
  "def return if(x==y){ } // /* */ <div> </div> &amp; == != => :: -> ++ 0x1F 1e-9 3.14159 [0] {'a':1} \"b\" $HOME %d \\n #include @",
);
const european = words(
  "Größe Übermut façade œuvre niño señor Åse Ærø žluťoučký kůň ΕΛΛΗΝΙΚΑ λόγος тест Съешь ещё français ĲSSELMEER ﬁne ﬀ",
);
const asian = words(
  "春眠不觉晓 处处闻啼鸟 上海人工智能实验室 書生 繁體字 ひらがな カタカナ ｶﾀｶﾅ 東京都 日本語の文章 한국어 안녕하세요 𠮷野家 〇 々 ㍿ ①②③",
);
const others = words(
  "العربية مُحَمَّد ٣٤٥ עברית हिन्दी क्षत्रिय বাংলা தமிழ் ไทยภาษา ភាសា ဗမာ ქართული հայերեն አማርኛ ᚠᚢᚦ 𐍈𐌰 𝔘𝔫𝔦 𝟘𝟙",
);
const emoji = words("😀 👩‍👩‍👧‍👦 👍🏽 🇨🇳🇫🇷 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ 🦙 ☃ ✈︎");
const marks = [
  "e\u0301",
  "o\u0302\u0323",
  "a\u0308\u0304",
  "\u0301",
  "Z\u0351\u036b\u0343",
  "\u1e9b\u0323",
  "\uac00\u11a8",
  "\u0345",
];
const spaces = [
  " ",
  "  ",
  "   ",
  "\t",
  "\n",
  "\r\n",
  "\n\n",
  " \n",
  "\u00a0",
  "\u2003",
  "\u3000",
  "\u200b",
  "\u2028",
  "\ufeff",
  "\u0085",
  "\u2581",
];
const controls = [
  "\u0001",
  "\u0007",
  "\b",
  "\u001b[0m",
  "\u007f",
  "\u0080",
  "\u009f",
  "\u200d",
  "\u202e",
  "\ufffd",
  "\uffff",
  "\u{10ffff}",
  "\ue000",
  "\u00ad",
];
const punctuation = words(
  "! ? , . ; : … — - _ ( ) [ ] « » “ ” ‘ ’ 、 。 ， ！ ？ 「 」 ～ · • © ™ € £ ¥ ° ± × ÷ ½ ¼ ² ³ ‰ ℃ Ⅳ",
);
const spelled = words(
  "<s> </s> <unk> <pad> <|im_start|> <|im_end|> <|endoftext|> <0x41> <0x0A> [UNUSED_TOKEN_3] <|eot_id|> <think> [INST]",
);
const digits = words("0 1 7 10 42 2024 1000000 3.14 1,234,567.89 00000000000 ٣ ௩ 五");
const halves = ["\ud83d", "\ude00", "\ud800", "\udfff", "\udbff\ud800"];

const allLists = [
  english,
  english,
  english,
  code,
  european,
  asian,
  asian,
  others,
  emoji,
  marks,
  spaces,
  controls,
  punctuation,
  spelled,
  digits,
  halves,
];

/**
 * Lines 0 to count - 1 of a seed. Some repeat one part many times, some are runs without a space.
 * `spelled`: whether texts that look like control or byte tokens occur, default true.
 */
export function generateLines(
  count: number,
  { seed = 1, spelled: withSpelled = true }: { seed?: number; spelled?: boolean } = {},
): string[] {
  const random = createRandom(seed);
  const lists = withSpelled ? allLists : allLists.filter((list) => list !== spelled);
  return Array.from({ length: count }, () => {
    let line = "";
    // Half of the lines keep to one kind of text, as texts do.
    const own = random(2) === 0 ? lists[random(lists.length)]! : undefined;
    for (let left = random(14); left > 0; left--) {
      const list = own !== undefined && random(8) > 0 ? own : lists[random(lists.length)]!;
      const part = list[random(list.length)]!;
      line += random(20) === 0 ? part.repeat(2 + random(40)) : part;
      if (random(3) > 0) line += spaces[random(4) === 0 ? random(spaces.length) : 0]!;
    }
    return line;
  });
}

/** SHA-256 (hex) over lists of ids. */
export function digestIds(ids: readonly ArrayLike<number>[]): string {
  const hash = createHash("sha256");
  for (const list of ids) hash.update(`${Array.from(list).join(" ")}\n`);
  return hash.digest("hex");
}
