import assert from "node:assert/strict";
import { test } from "node:test";
import { nearlyRhymes, rhymeGroupsOf, rhymes, toneMarks, toneOf } from "./tones.ts";

/** Characters of the Pingshui rhymes that the derivation was not started from. */
const known: Record<string, string> = {
  一东: "同童铜桐筒虫终崇弓宫融雄穷丰隆公功工蒙笼洪鸿翁聪通蓬丛匆",
  二冬: "农宗容封胸浓重从峰锋逢蓉踪慵",
  三江: "邦降撞幢缸",
  四支: "枝移为垂吹奇宜儿离池规危师姿迟眉悲之思期辞词丝私疑旗棋滋持随痴脂卑亏碑",
  五微: "晖徽挥围非违霏稀依薇扉机威妃肥辉",
  六鱼: "初疏渔余舆除储如墟诸锄虚庐徐蔬梳猪",
  七虞: "愚娱雏须株孤途图乌都枯壶徒奴儒吾珠呼芦",
  八齐: "犀鸡梯泥溪迷嘶题提蹄携梨闺栖藜黎畦",
  九佳: "柴钗崖阶谐排骸",
  十灰: "徊梅杯苔台才哀埃雷催堆陪该莱栽回媒",
  十一真: "因辛晨辰臣尘津身邻贫滨亲银神巾民秦宾匀旬频筋",
  十二文: "分纷芬坟焚群裙军勋曛熏氛文耘",
  十三元: "原源园猿言轩喧昏论孙尊存繁烦恩痕根屯樽暄",
  十四寒: "端残滩坛栏丹盘冠欢官宽团弹干兰澜鞍湍峦",
  十五删: "颜还环湾蛮攀斑班艰闲潺鬟",
  一先: "千田边烟怜弦眠妍贤莲悬泉川船然连联仙鲜钱传缘鞭权圆穿偏篇牵",
  二萧: "箫雕条迢消宵销苗飘潮骄娇烧焦邀腰摇谣标瓢樵聊凋霄韶",
  三肴: "茅嘲抛梢包胶敲匏苞蛟",
  四豪: "刀毫涛袍桃曹操号骚逃陶滔蒿醪萄遭",
  五歌: "娥罗波和歌过磨荷蛾萝戈柯螺峨跎梭莎科",
  六麻: "沙茶斜车瓜牙嘉纱遮鸦砂槎嗟加华蛇",
  七阳: "乡霜方裳堂狂床凉康黄王房芳藏场旁忙梁章肠强伤亡浆妆墙央塘苍忘茫",
  八庚: "清情更行兵城名惊轻营京耕荣迎旌莺鸣鲸衡卿倾平晴诚征盟盈精",
  九青: "经形灵屏听醒萍冥零宁丁溟铃泠",
  十蒸: "绫陵升登层能乘绳朋鹏凝兴凭仍腾藤",
  十一尤: "舟忧游悠愁休收求侯头州鸥洲幽牛谋留犹稠酬眸钩投柔裘浮",
  十二侵: "音寻琴吟今金襟禽沉阴砧岑森簪霖",
  十三覃: "谈甘蓝堪参含酣庵岚蚕涵骖龛",
  十四盐: "严嫌兼纤尖潜占沾廉",
  十五咸: "凡缄杉谗衔喃",
};

test("rhyme groups agree with the Pingshui rhymes", () => {
  const wrong: string[] = [];
  let count = 0;
  let single = 0;
  for (const [group, characters] of Object.entries(known)) {
    for (const character of characters) {
      count++;
      const groups = rhymeGroupsOf(character);
      if (!groups.includes(group)) wrong.push(`${character}: ${groups.join()} for ${group}`);
      if (groups.length === 1) single++;
    }
  }
  assert.ok(count > 500);
  assert.deepEqual(wrong, []);
  assert.ok(single / count > 0.95, `${single} of ${count} stand in one group`);
});

test("tones are those of Middle Chinese", () => {
  for (const character of "白日十月一不国入角出石雪绝客独竹") assert.equal(toneOf(character), "oblique", character);
  for (const character of "山河天人春风花中") assert.equal(toneOf(character), "level", character);
  for (const character of "看过思听重") assert.equal(toneOf(character), "either", character);
  assert.equal(toneOf("a"), undefined);
  assert.equal(toneMarks("白日依山尽，x㗊看"), "仄仄平平仄，x？○");
});

test("both scripts are known", () => {
  for (const [traditional, simplified] of ["風风", "東东", "樓楼", "國国", "葉叶", "歸归", "聽听"].map((pair) => [
    ...pair,
  ])) {
    assert.equal(toneOf(traditional!), toneOf(simplified!), traditional);
    assert.deepEqual(rhymeGroupsOf(traditional!), rhymeGroupsOf(simplified!), traditional);
  }
});

test("near groups are told apart, and joined only for a first line", () => {
  assert.ok(rhymes("流", "楼") && rhymes("枝", "思") && rhymes("归", "飞"));
  for (const [a, b] of ["东冬", "支微", "鱼虞", "庚青", "真文", "寒删"].map((pair) => [...pair])) {
    assert.ok(!rhymes(a!, b!), `${a} ${b}`);
    assert.ok(nearlyRhymes(a!, b!), `${a} ${b}`);
  }
  assert.ok(!nearlyRhymes("流", "山"));
  assert.ok(!rhymes("流", "流"), "a character does not rhyme with itself");
  assert.ok(!rhymes("雪", "绝"), "oblique characters are in no level group");
});
