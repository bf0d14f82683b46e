import assert from "node:assert/strict";
import { test } from "node:test";
import type { Script } from "../script.ts";
import { createNearDuplicates } from "./near.ts";
import { createShingler } from "./shingles.ts";

function clusters(texts: readonly string[], script: Script): number[] {
  const near = createNearDuplicates();
  for (const text of texts) near.add(text, script);
  const clustering = near.cluster();
  for (;;) {
    const { done, value } = clustering.next();
    if (done) return [...value];
  }
}
const setOf = (text: string, script: Script): Set<string> => {
  const { low, high, count } = createShingler()(text, script);
  return new Set(Array.from({ length: count }, (_, index) => `${high[index]}:${low[index]}`));
};

test("shingles: characters of Chinese, words elsewhere; punctuation, case and spaces do not count", () => {
  assert.equal(setOf("床前明月光", "han").size, 4);
  assert.deepEqual(setOf("床前，明月光。\n", "han"), setOf("床前明月光", "han"));
  assert.equal(setOf("𠀀𠀁𠀂", "han").size, 2);
  assert.deepEqual(setOf("One, two THREE four-five six!", "latin"), setOf("one two three four five six", "latin"));
  assert.equal(setOf("one two three four five six", "latin").size, 2);
  assert.equal(setOf("one two", "latin").size, 1);
  assert.equal(setOf("。，", "han").size, 0);
});

test("a long Chinese text is cut into longer n-grams than a poem", () => {
  // One changed character changes as many n-grams as n says, and a text that repeats has each of them once.
  const period = Array.from({ length: 50 }, (_, index) => String.fromCodePoint(0x4e00 + index)).join("");
  const changed = period.slice(0, 25) + "龘" + period.slice(26);
  const shared = (one: string, two: string): number => setOf(one, "han").intersection(setOf(two, "han")).size;
  assert.equal(setOf(period, "han").size - shared(period, changed), 2);
  const [long, longChanged] = [period.repeat(5), changed.repeat(5)];
  assert.equal(setOf(long, "han").size - shared(long, longChanged), 5);
});

const QUATRAIN = "楊柳青青江水平，聞郎江上唱歌聲。東邊日出西邊雨，道是無晴却有晴。";
const OTHERS = [
  "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
  "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。",
  "千山鳥飛絕，萬徑人蹤滅。孤舟蓑笠翁，獨釣寒江雪。",
];

test("editions of a poem that differ in a character or two are one cluster, other poems are not", () => {
  const edition = QUATRAIN.replace("唱歌", "踏歌");
  assert.deepEqual(clusters([...OTHERS, QUATRAIN, edition], "han"), [0, 1, 2, 3, 3]);
});

test("what is connected is one cluster, whatever the order; texts without letters are none", () => {
  const first = Array.from({ length: 60 }, (_, index) => `word${index}`);
  // Each differs from the one before it by two words of sixty.
  const chain = [0, 1, 2, 3, 4, 5].map((step) =>
    first.map((word, at) => (at < 2 * step ? `new${at}` : word)).join(" "),
  );
  const texts = [...chain, "", "...", "an altogether different text about the weather of last week"];
  const expected = clusters(texts, "latin");
  assert.deepEqual(expected, [0, 0, 0, 0, 0, 0, 6, 7, 8]);
  for (const order of [texts.toReversed(), [...texts.slice(4), ...texts.slice(0, 4)]]) {
    const found = clusters(order, "latin");
    const sameBefore = (one: string, two: string): boolean =>
      expected[texts.indexOf(one)] === expected[texts.indexOf(two)];
    for (const [i, one] of order.entries()) {
      for (const [j, two] of order.entries()) assert.equal(found[i] === found[j], sameBefore(one, two));
    }
  }
});

test("thousands of copies are one cluster", () => {
  const texts = Array.from({ length: 5000 }, (_, index) => (index % 5 === 4 ? `${QUATRAIN}${index}` : QUATRAIN));
  assert.deepEqual(new Set(clusters(texts, "han")), new Set([0]));
});

test("the share of pairs found follows 1 - (1 - J^9)^14", () => {
  const next = (
    (seed: number) => () =>
      (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0)
  )(5);
  const word = (): string => next().toString(36);
  const found = (similarity: number): number => {
    // Two sets of n 5-grams that share their first k words have k - 4 in common: J = c / (2n - c).
    const pairs = 300;
    const size = 300;
    const common = Math.round((2 * size * similarity) / (1 + similarity));
    let together = 0;
    const texts: string[] = [];
    for (let pair = 0; pair < pairs; pair += 1) {
      const shared = Array.from({ length: common + 4 }, word);
      for (const _ of [1, 2]) texts.push([...shared, ...Array.from({ length: size - common }, word)].join(" "));
    }
    const cluster = clusters(texts, "latin");
    for (let pair = 0; pair < pairs; pair += 1) if (cluster[2 * pair] === cluster[2 * pair + 1]) together += 1;
    return together / pairs;
  };
  assert.ok(found(0.95) > 0.99);
  assert.ok(Math.abs(found(0.8) - 0.867) < 0.08);
  assert.ok(found(0.5) < 0.02);
});
