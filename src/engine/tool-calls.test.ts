import assert from "node:assert/strict";
import { test } from "node:test";
import type { GenerateEvent, GenerateRequest, ToolCall, ToolDefinition } from "../protocol/index.ts";
import { callFormat, parseToolCalls, withPlainTools, type Tokenizer } from "../tokenizer/index.ts";
import { createGeneration } from "./generation.ts";
import { createPreparer } from "./request.ts";
import { createSampler } from "./sampler.ts";
import { createDialectTokenizer } from "./test-dialects.ts";

const weather: ToolDefinition = {
  name: "weather",
  description: "The weather at a place.",
  parameters: {
    type: "object",
    properties: { place: { type: "string", maxLength: 6 }, days: { type: "integer", minimum: 1, maximum: 12 } },
    required: ["place"],
    additionalProperties: false,
  },
};
const now: ToolDefinition = {
  name: "now",
  description: "The time.",
  parameters: { type: "object", additionalProperties: false },
};
const messages = [{ role: "user" as const, content: "hi" }];

const dialects: Record<string, Tokenizer> = {
  internlm2: createDialectTokenizer("internlm2"),
  "hermes in text": createDialectTokenizer("hermes"),
  "hermes with control tokens": createDialectTokenizer("hermes", ["<tool_call>", "</tool_call>"]),
  llama3: createDialectTokenizer("llama3"),
  "llama3 with a tag": createDialectTokenizer("llama3", ["<|python_tag|>"]),
  plain: createDialectTokenizer("plain"),
};

/** What a model of random weights answers; `favour` makes texts likelier where they can come next. */
function answer(tokenizer: Tokenizer, request: Omit<GenerateRequest, "input">, favour: readonly string[] = []) {
  const events: GenerateEvent[] = [];
  const prepared = createPreparer(tokenizer, 4096)({ input: { messages }, ...request });
  const ids: number[] = [];
  const generation = createGeneration({
    tokenizer,
    sampler: createSampler(tokenizer.vocabSize),
    prepared,
    emit: (event) => events.push(event),
    cachedTokens: () => 0,
  });
  let position = prepared.promptIds.length - 1;
  for (;;) {
    const logits = Float32Array.from(
      { length: tokenizer.vocabSize },
      (_, id) => Math.sin(id * 12.9898 + (request.seed ?? 0) * 78.233 + ids.length * 37.719) * 3,
    );
    const written = tokenizer.decode(ids);
    for (const text of favour) {
      for (let count = text.length - 1; count >= 0; count--) {
        if (count > 0 && !written.endsWith(text.slice(0, count))) continue;
        logits[tokenizer.encode(text[count]!)[0]!]! += 9;
        break;
      }
    }
    const id = generation.next(position, logits);
    if (id === "done") break;
    ids.push(id);
    position += 1;
  }
  const finish = events.at(-1)!;
  assert.equal(finish.type, "finish");
  return { events, ids, tokenizer, finish: finish as Extract<GenerateEvent, { type: "finish" }> };
}

function check({ events, finish }: ReturnType<typeof answer>): ToolCall[] {
  const calls: ToolCall[] = [];
  const streamed: ToolCall[] = [];
  for (const event of events) {
    if (event.type === "text-delta") assert.equal(streamed.length, 0, "text comes before calls");
    if (event.type === "tool-call") calls.push(event.toolCall);
    if (event.type === "tool-call-delta") {
      const { index, id, name, arguments: piece } = event;
      if (name !== undefined) {
        assert.equal(index, streamed.length);
        streamed.push({ id, name, arguments: piece });
      } else streamed[index]!.arguments += piece;
    }
  }
  assert.deepEqual(streamed, calls, "pieces make up the calls");
  assert.equal(new Set(calls.map(({ id }) => id)).size, calls.length);
  for (const { name, arguments: text } of calls) {
    const value = JSON.parse(text) as Record<string, unknown>;
    if (name === "now") {
      assert.deepEqual(value, {});
      continue;
    }
    assert.equal(name, "weather");
    assert.ok(typeof value.place === "string" && [...value.place].length <= 6);
    assert.ok(value.days === undefined || (Number.isInteger(value.days) && (value.days as number) <= 12));
  }
  assert.equal(finish.reason === "tool-calls", calls.length > 0);
  return calls;
}

for (const [name, tokenizer] of Object.entries(dialects)) {
  test(`${name}: required calls are valid whatever the weights, one or several`, () => {
    let several = 0;
    for (let seed = 0; seed < 25; seed++) {
      const tools = [weather, now];
      several += Number(check(answer(tokenizer, { tools, toolChoice: "required", maxTokens: 250, seed })).length > 1);
      const one = check(
        answer(tokenizer, { tools, toolChoice: "required", parallelToolCalls: false, maxTokens: 120, seed }),
      );
      assert.equal(one.length, 1);
      const named = check(answer(tokenizer, { tools, toolChoice: { name: "now" }, maxTokens: 60, seed }));
      assert.deepEqual(
        named.map((call) => call.name),
        ["now"],
      );
    }
    assert.ok(several > 0, "some answers have several calls");
  });

  test(`${name}: calls may come after text, and what is streamed is what is there at the end`, () => {
    let called = 0;
    let text = 0;
    for (let seed = 0; seed < 40; seed++) {
      const favour = name.startsWith("llama3") ? ['{"name": "'] : ["ok <tool_call>"];
      const result = answer(tokenizer, { tools: [weather, now], maxTokens: 120, seed }, favour);
      const calls = check(result);
      called += Number(calls.length > 0);
      const streamedText = result.events.map((event) => (event.type === "text-delta" ? event.text : "")).join("");
      text += Number(streamedText !== "");
      const stops = new Set(tokenizer.stopIds);
      const ids = result.ids.filter((id) => !stops.has(id));
      // The id that ended a call for good is not handed back by the generation.
      if (result.finish.usage.completionTokens > result.ids.length && calls.length > 0) continue;
      const format = callFormat(tokenizer, tokenizer.chatDialect)!;
      const whole = parseToolCalls(tokenizer, ids, { format });
      if (result.finish.reason === "stop" || calls.length > 0) {
        assert.deepEqual(
          whole.toolCalls.map(({ name: tool, arguments: given }) => [tool, given]),
          calls.map(({ name: tool, arguments: given }) => [tool, given]),
        );
      }
    }
    assert.ok(called > 0, "some answers call");
    assert.ok(text > 0, "some answers have text");
  });
}

test("a response format and tools: the answer is one or the other", () => {
  for (const name of ["internlm2", "hermes in text", "llama3 with a tag", "plain"]) {
    const kinds = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      const result = answer(
        dialects[name]!,
        {
          tools: [weather],
          responseFormat: {
            type: "json_schema",
            schema: { enum: [{ name: "weather", parameters: {} }, "<tool_call>"] },
          },
          maxTokens: 80,
          seed,
        },
        seed % 2 ? ["<tool_call>"] : ['"'],
      );
      const calls = check(result);
      const text = result.events.map((event) => (event.type === "text-delta" ? event.text : "")).join("");
      if (calls.length === 0) assert.ok(["object", "string"].includes(typeof JSON.parse(text)));
      else assert.equal(text, "");
      kinds.add(calls.length > 0 ? "call" : "text");
    }
    assert.equal(kinds.size, 2, `${name}: ${[...kinds].join()}`);
  }
  assert.throws(
    () => answer(dialects["llama3"]!, { tools: [now], responseFormat: { type: "json_object" } }),
    /no mark that tells them from text/,
  );
});

test("tools are explained to a model whose template knows none, and results come as text", () => {
  const call = { id: "c", name: "now", arguments: "{}" };
  const told = withPlainTools(
    [
      { role: "system", content: "Be brief." },
      { role: "user", content: "time?" },
      { role: "assistant", content: "", toolCalls: [call] },
      { role: "tool", content: "noon", toolCallId: "c" },
      { role: "tool", content: "12", toolCallId: "c" },
      { role: "user", content: "thanks" },
    ],
    [now],
  );
  assert.deepEqual(
    told.map(({ role }) => role),
    ["system", "user", "assistant", "user"],
  );
  assert.match(told[0]!.content, /^Be brief\.\n\n[^]*<tools>\n\{"name":"now",/);
  assert.equal(told[2]!.content, '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>');
  assert.match(told[3]!.content, /noon\n<\/tool_response>\n<tool_response>\n12\n<\/tool_response>\nthanks$/);
  assert.equal(withPlainTools([{ role: "user", content: "x" }], [now])[0]!.role, "system");
});
