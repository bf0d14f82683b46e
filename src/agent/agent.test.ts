// The loops against a scripted model: what it says is fixed, what the loops make of it is tested.
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import type { GenerateEvent, GenerateRequest, LanguageModel } from "../protocol/language-model.ts";
import { callTool, definitionOf, defineTool, react, rewrite, type Tool } from "./index.ts";

type Reply = (request: GenerateRequest) => string | { name: string; arguments: string }[];

function scripted(replies: Reply[]): LanguageModel & { requests: GenerateRequest[] } {
  const requests: GenerateRequest[] = [];
  return {
    id: "scripted",
    contextLength: 1000,
    requests,
    async *generate(request): AsyncGenerator<GenerateEvent> {
      requests.push(request);
      const reply = replies[requests.length - 1]!(request);
      if (typeof reply === "string") yield { type: "text-delta", text: reply };
      else
        for (const [index, call] of reply.entries())
          yield { type: "tool-call", toolCall: { id: `call-${index}`, ...call } };
      yield { type: "finish", reason: "stop", usage: { promptTokens: 0, completionTokens: 0 } };
    },
    score: () => Promise.reject(new Error("not used")),
    close: () => Promise.resolve(),
  };
}

const add = defineTool({
  name: "add",
  description: "adds",
  parameters: z.object({ a: z.number(), b: z.number() }),
  run: ({ a, b }) => a + b,
}) as Tool;
const { signal } = new AbortController();

test("react runs every call of a message, gives results back, and ends with the answer", async () => {
  const model = scripted([
    () => [
      { name: "add", arguments: '{"a":1,"b":2}' },
      { name: "add", arguments: '{"a":3,"b":4}' },
    ],
    ({ input }) => {
      assert.ok("messages" in input);
      assert.deepEqual(
        input.messages.slice(-2).map(({ content, toolCallId }) => [content, toolCallId]),
        [
          ["3", "call-0"],
          ["7", "call-1"],
        ],
      );
      return "10";
    },
  ]);
  const loop = react({ model, messages: [{ role: "user", content: "?" }], tools: [add], signal });
  const kinds: string[] = [];
  let step = await loop.next();
  for (; !step.done; step = await loop.next()) kinds.push(step.value.type);
  assert.deepEqual(kinds, ["tool-call", "tool-result", "tool-call", "tool-result", "answer"]);
  assert.deepEqual([step.value.answer, step.value.turns, step.value.messages.length], ["10", 2, 5]);
});

test("react tells the model of bad calls, and the last turn may not call", async () => {
  const model = scripted([
    () => [{ name: "add", arguments: "{a:1}" }],
    () => [{ name: "add", arguments: '{"a":"x","b":1}' }],
    () => [{ name: "subtract", arguments: "{}" }],
    () => "done",
  ]);
  const loop = react({ model, messages: [], tools: [add], maxTurns: 4, signal });
  let step = await loop.next();
  while (!step.done) step = await loop.next();
  const told = step.value.messages.filter(({ role }) => role === "tool").map(({ content }) => content);
  assert.match(told[0]!, /not JSON/);
  assert.match(told[1]!, /do not fit add/);
  assert.match(told[2]!, /no tool subtract/);
  assert.deepEqual(
    model.requests.map(({ toolChoice }) => toolChoice),
    ["auto", "auto", "auto", "none"],
  );
});

test("a tool that throws answers with its message; an abort goes through", async () => {
  const broken = { ...add, run: () => Promise.reject(new Error("no luck")) };
  const outcome = await callTool([broken], { name: "add", arguments: '{"a":1,"b":1}' }, signal);
  assert.deepEqual(outcome, { ok: false, error: "add failed: no luck" });
  await assert.rejects(callTool([add], { name: "add", arguments: "{}" }, AbortSignal.abort(new Error("stop"))), /stop/);
  assert.deepEqual(definitionOf(add).parameters.required, ["a", "b"]);
});

test("rewrite keeps the lines before the first fault, asks for the rhyme that failed, and stops at the first poem that passes", async () => {
  // 登鹳雀楼 with its last line's rhyme broken, then whole.
  const broken = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层月。";
  const whole = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。";
  const callFor = (request: GenerateRequest) => {
    const schema = request.tools![0]!.parameters as { properties: { poem: { const: string } } };
    return [{ name: "check_quatrain", arguments: JSON.stringify({ poem: schema.properties.poem.const }) }];
  };
  const model = scripted([() => broken, callFor, () => whole, callFor]);
  const drafts = [];
  for await (const draft of rewrite({ model, request: "写", tries: 5, temperature: 1, topP: 1, seed: 0, signal })) {
    drafts.push(draft);
  }
  assert.deepEqual(
    drafts.map(({ passed, keptLines }) => [passed, keptLines]),
    [
      [false, 0],
      [true, 3],
    ],
  );
  const { responseFormat } = model.requests[2]!;
  assert.ok(responseFormat?.type === "regex");
  const pattern = new RegExp(`^(?:${responseFormat.pattern})$`, "u");
  assert.match(whole, pattern);
  assert.doesNotMatch("白日依山去，黄河入海流。\n欲穷千里目，更上一层楼。", pattern);
  assert.doesNotMatch("白日依山尽，黄河入海流。\n欲穷千里目，更上一层山。", pattern, "山 does not rhyme with 流");
});
