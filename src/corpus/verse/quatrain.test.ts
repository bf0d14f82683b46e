import assert from "node:assert/strict";
import { test } from "node:test";
import { checkQuatrain, type RuleName } from "./quatrain.ts";

/** The rules that fail, in order. */
const failing = (text: string, characters?: 5 | 7): RuleName[] =>
  Object.entries(checkQuatrain(text, characters).rules).flatMap(([rule, passed]) => (passed ? [] : [rule as RuleName]));

const regulated: [name: string, characters: 5 | 7, text: string][] = [
  ["王之涣《登鹳雀楼》", 5, "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"],
  ["王维《相思》", 5, "红豆生南国，春来发几枝。愿君多采撷，此物最相思。"],
  ["白居易《问刘十九》", 5, "绿蚁新醅酒，红泥小火炉。晚来天欲雪，能饮一杯无？"],
  ["王勃《山中》", 5, "长江悲已滞，万里念将归。况属高风晚，山山黄叶飞。"],
  ["the same in traditional characters", 5, "長江悲已滯，萬里念將歸。況屬高風晚，山山黃葉飛。"],
  ["祖咏《终南望余雪》, line 3 rescued by line 4", 5, "终南阴岭秀，积雪浮云端。林表明霁色，城中增暮寒。"],
  ["王昌龄《出塞》, line 1 joins the rhyme", 7, "秦时明月汉时关，万里长征人未还。但使龙城飞将在，不教胡马度阴山。"],
  ["李白《早发白帝城》", 7, "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。"],
  ["张继《枫桥夜泊》", 7, "月落乌啼霜满天，江枫渔火对愁眠。姑苏城外寒山寺，夜半钟声到客船。"],
  [
    "杜牧《清明》, line 1 in a neighbouring group",
    7,
    "清明时节雨纷纷，路上行人欲断魂。借问酒家何处有，牧童遥指杏花村。",
  ],
];
for (const [name, characters, text] of regulated) {
  test(`passes every rule: ${name}`, () => {
    const check = checkQuatrain(text, characters);
    assert.deepEqual(check.faults, []);
    assert.equal(check.passed, true);
    assert.equal(check.tones, true);
  });
}

test("old-style quatrains fail where they are known to", () => {
  // 静夜思 rhymes (光, 霜, 乡) but was never regulated.
  const quietNight = checkQuatrain("床前明月光，疑是地上霜。举头望明月，低头思故乡。");
  assert.equal(quietNight.rules.rhyme, true);
  assert.equal(quietNight.tones, false);
  assert.ok(!quietNight.rules.alternation);
  // 鹿柴 and 江雪 rhyme on oblique tones.
  for (const text of [
    "空山不见人，但闻人语响。返景入深林，复照青苔上。",
    "千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。",
  ]) {
    const rules = failing(text, 5);
    assert.ok(rules.includes("rhyme") && rules.includes("endings") && !rules.includes("form"), rules.join());
  }
});

test("each rule fails alone, and says where and why", () => {
  const cases: [RuleName, string, string, string][] = [
    [
      "rhyme",
      "白日依山尽，黄河入海流。欲穷千里目，更上一层山。",
      "第2、4句不押平声韵：「流」属十一尤，「山」属十五删",
      "",
    ],
    [
      "rhyme",
      "白日依山尽，黄河入海流。欲穷千里目，更上一层流。",
      "第2句与第4句同押「流」字",
      "lines 2 and 4 both end in '流', two characters expected",
    ],
    [
      "rhyme",
      "白日依山间，黄河入海流。欲穷千里目，更上一层楼。",
      "首句以平声收而不入韵：「间」属十五删，「流」属十一尤",
      "",
    ],
    [
      "alternation",
      "白日依月尽，黄河入海流。欲穷千里目，更上一层楼。",
      "第1句第4字「月」是仄声，应为平声",
      "line 1, character 4 '月' is oblique, level expected",
    ],
    [
      "endings",
      "白日依山尽，黄河入海流。欲穷千里山，更上一层楼。",
      "第3句第5字「山」是平声，应为仄声",
      "line 3, character 5 '山' is level, oblique expected",
    ],
  ];
  for (const [rule, text, chinese, english] of cases) {
    const { faults } = checkQuatrain(text, 5);
    assert.deepEqual([...new Set(faults.map((fault) => fault.rule))], [rule], text);
    assert.equal(faults[0]!.chinese, chinese);
    if (english !== "") assert.equal(faults[0]!.english, english);
  }
});

test("opposition and adhesion", () => {
  // Couplets of two poems put together: each couplet is opposite in itself, but they do not join.
  const apart = "白日依山尽，黄河入海流。绿蚁新醅酒，风烟万里秋。";
  assert.deepEqual(failing(apart, 5), ["adhesion"]);
  assert.equal(checkQuatrain(apart).faults[0]!.chinese, "第2句与第3句失粘：第2字「河」平、「蚁」仄，应相同");
  // Two lines of one template in a couplet.
  assert.deepEqual(failing("白日依山尽，更上一层楼。白日依山尽，更上一江秋。", 5), ["opposition"]);
});

test("licensed forms pass: 平平仄平仄, and a rescued line before the rhyme", () => {
  // 春来江水绿 is 平平平仄仄; 春来水东去 is 平平仄平仄.
  assert.deepEqual(failing("白日依山尽，黄河入海流。春来水东去，独上一层楼。", 5), []);
  // 野火烧不尽 has both places oblique; 春风吹又生 rescues it with a level third character.
  assert.ok(checkQuatrain("野火烧不尽，春风吹又生。远芳侵古道，晴翠接荒城。", 5).rules.alternation);
  // Without the rescue it is a fault.
  assert.ok(!checkQuatrain("野火烧不尽，春风又一生。远芳侵古道，晴翠接荒城。", 5).rules.alternation);
});

test("form: lines, their length, and nothing but characters", () => {
  const good = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。";
  assert.deepEqual(failing(good), []);
  assert.deepEqual(failing(good.replaceAll(/[，。]/gu, "\n")), []);
  assert.equal(checkQuatrain(good, 7).rules.form, false);
  for (const bad of [
    "",
    "白日依山尽，黄河入海流。",
    `${good}更上一层楼`,
    good.replace("尽", "x"),
    good.replace("尽", "尽尽"),
    "，".repeat(9000),
  ]) {
    const check = checkQuatrain(bad);
    assert.equal(check.rules.form, false, bad);
    assert.equal(check.rules.rhyme, false, "no rule passes where the form fails");
    assert.equal(check.passed, false);
    assert.ok(check.faults.length > 0);
  }
});

test("characters that the table does not know prove nothing", () => {
  const check = checkQuatrain("白日依山尽，黄河入海流。欲穷千里目，更上一层㗊。", 5);
  assert.equal(check.rules.rhyme, false);
  assert.equal(check.rules.endings, false);
  assert.match(check.faults.find(({ rule }) => rule === "endings")!.english, /of unknown tone/);
});

test("shuffled characters of real poems fail", () => {
  let passed = 0;
  let tried = 0;
  for (const [, characters, text] of regulated) {
    const all = [...text.replaceAll(/[^\p{Script=Han}]/gu, "")];
    for (let step = 3; step < 20; step++) {
      if (all.length % step === 0) continue;
      const mixed = all.map((_, index) => all[(index * step + step) % all.length]!);
      const lines = [0, 1, 2, 3].map((line) => mixed.slice(line * characters, (line + 1) * characters).join(""));
      tried++;
      if (checkQuatrain(lines.join("，"), characters).passed) passed++;
    }
  }
  assert.ok(tried > 80 && passed <= tried * 0.03, `${passed} of ${tried}`);
});
