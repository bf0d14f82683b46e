import assert from "node:assert/strict";
import { test } from "node:test";
import type { GenerateEvent, TokenLogprob } from "../protocol/index.ts";
import { createAnswer } from "./answer.ts";
import { freeGuide } from "./guide.ts";
import { createTestTokenizer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
const idOf = (text: string): number => {
  for (let id = 0; id < tokenizer.vocabSize; id++)
    if (!tokenizer.isControl(id) && tokenizer.decode([id]) === text) return id;
  throw new RangeError(`no token ${text}`);
};

/** The events of an answer of these ids, whose log-probabilities are -1, -2 ... */
function events(ids: readonly number[], { stop = [] as string[], maxTokens = 100 } = {}): GenerateEvent[] {
  const seen: GenerateEvent[] = [];
  const answer = createAnswer({
    tokenizer,
    guide: freeGuide(tokenizer, { minTokens: 0, ignoreEos: false }),
    stop,
    calls: undefined,
    maxTokens,
    promptTokens: 3,
    continuing: true,
    callId: () => "call",
    emit: (event) => seen.push(event),
  });
  for (const [index, id] of ids.entries()) {
    const logprob: TokenLogprob = { id, bytes: tokenizer.tokenBytes(id), logprob: -1 - index, top: [] };
    if (answer.push(id, logprob)) break;
  }
  return seen;
}

function summary(seen: readonly GenerateEvent[]): { text: string; logprobs: number[]; steps: string[] } {
  const deltas = seen.filter((event) => event.type === "text-delta");
  return {
    text: deltas.map(({ text }) => text).join(""),
    logprobs: deltas.flatMap(({ logprobs = [] }) => logprobs.map(({ logprob }) => logprob)),
    steps: deltas.map(({ text, logprobs = [] }) => `${text}/${logprobs.length}`),
  };
}

test("every log-probability comes once, at once where nothing can take it back; that of the stop token does not", () => {
  const bytes = [...tokenizer.encode("a😀")];
  const seen = events([...bytes, idOf(" the"), tokenizer.stopIds[1]!]);
  assert.deepEqual(summary(seen), {
    text: "a😀 the",
    logprobs: [-1, -2, -3, -4, -5, -6],
    steps: ["a/1", "/1", "/1", "/1", "😀/1", " the/1"],
  });
  assert.deepEqual(seen.at(-1), {
    type: "finish",
    reason: "stop",
    usage: { promptTokens: 3, completionTokens: 7 },
  });
});

test("half a character at the end is text all the same, and has its log-probabilities", () => {
  const seen = events([...tokenizer.encode("ok😀")].slice(0, 4), { maxTokens: 4 });
  assert.deepEqual(summary(seen).logprobs, [-1, -2, -3, -4]);
  assert.equal(summary(seen).text, "ok\ufffd");
});

test("a stop string takes the log-probabilities of its tokens with it, and is named", () => {
  // "the" spans two tokens: " the" begins before it, and is partly in the text.
  const ids = [...tokenizer.encode("x"), idOf(" the"), ...tokenizer.encode("n!more")];
  const seen = events(ids, { stop: ["then", "!!"] });
  assert.deepEqual(summary(seen), { text: "x ", logprobs: [-1, -2], steps: ["x/1", " /1"] });
  const finish = seen.at(-1)!;
  assert.deepEqual(finish, {
    type: "finish",
    reason: "stop",
    usage: { promptTokens: 3, completionTokens: 3 },
    stop: "then",
  });
  // What only looked like one comes out with all that belongs to it.
  const held = events([...tokenizer.encode("x!?")], { stop: ["!!"], maxTokens: 3 });
  assert.deepEqual(summary(held), { text: "x!?", logprobs: [-1, -2, -3], steps: ["x/1", "!?/2"] });
  // A stop string of half characters' tokens.
  const emoji = events([...tokenizer.encode("a😀b")], { stop: ["😀"] });
  assert.deepEqual(summary(emoji), { text: "a", logprobs: [-1], steps: ["a/1"] });
  const atEnd = events([...tokenizer.encode("a!")], { stop: ["!!"], maxTokens: 2 });
  assert.deepEqual(summary(atEnd), { text: "a!", logprobs: [-1, -2], steps: ["a/1", "!/1"] });
});
