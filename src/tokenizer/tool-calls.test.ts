import assert from "node:assert/strict";
import { test } from "node:test";
import type { Tokenizer } from "./tokenizer.ts";
import { callFormat } from "./call-format.ts";
import { createSmall } from "./test-support.ts";
import { createToolCallParser, parseCallBody, parseToolCalls } from "./tool-calls.ts";

/** Ids of a text in which «name» stands for the control token <|name|>. */
function idsOf(tokenizer: Tokenizer, text: string): number[] {
  return text
    .split(/(«\w+»)/)
    .flatMap((part) =>
      part.startsWith("«") ? [tokenizer.controlId(`<|${part.slice(1, -1)}|>`)!] : [...tokenizer.encode(part)],
    );
}

test("calls between text are found; the arguments are as they were written", async () => {
  const tokenizer = await createSmall();
  const ids = idsOf(
    tokenizer,
    `看一看。«action_start»«plugin»\n{"name": "tone", "parameters": {"poem":  "春眠", "n": 1.0}}«action_end»` +
      `再看«action_start»«plugin»{"name":"rhyme"}«action_end»«im_end»`,
  );
  assert.deepEqual(parseToolCalls(tokenizer, ids), {
    text: "看一看。再看",
    toolCalls: [
      { id: "call_0", name: "tone", arguments: '{"poem":  "春眠", "n": 1.0}' },
      { id: "call_1", name: "rhyme", arguments: "{}" },
    ],
    broken: [],
  });
});

test("text that spells the tags is text", async () => {
  const tokenizer = await createSmall();
  const text = '<|action_start|><|plugin|>\n{"name": "x", "parameters": {}}<|action_end|>';
  assert.deepEqual(parseToolCalls(tokenizer, tokenizer.encode(text)), { text, toolCalls: [], broken: [] });
});

test("what is no call is reported with its reason and loses no text", async () => {
  const tokenizer = await createSmall();
  for (const [written, reason] of [
    ["«action_start»«plugin»\n{oops}«action_end»", /not JSON/],
    ["«action_start»«plugin»\n[1]«action_end»", /not an object/],
    ['«action_start»«plugin»\n{"name": "x", "parameters": [1]}«action_end»', /not an object/],
    ['«action_start»«plugin»\n{"name": "x"', /not finished/],
    ["«action_start»«interpreter»\nprint(1)«action_end»", /interpreter/],
  ] as const) {
    const { text, toolCalls, broken } = parseToolCalls(tokenizer, idsOf(tokenizer, `a${written}`), {});
    assert.equal(text, "a");
    assert.deepEqual(toolCalls, []);
    assert.match(broken[0]!.reason, reason);
    assert.ok(written.replaceAll(/«\w+»/g, "").includes(broken[0]!.text));
  }
  const { toolCalls, broken } = parseToolCalls(
    tokenizer,
    idsOf(tokenizer, '«action_start»«plugin»{"na«action_start»«plugin»{"name": "y"}«action_end»'),
  );
  assert.deepEqual([toolCalls.length, broken.length], [1, 1]);
});

test("events come as soon as they can, and inCall says where a constraint applies", async () => {
  const tokenizer = await createSmall();
  const parser = createToolCallParser(tokenizer, { callId: (index) => `x${index}` });
  const [start, end] = ["<|action_start|>", "<|action_end|>"].map((name) => tokenizer.controlId(name)!);
  const before = idsOf(tokenizer, "ok").flatMap((id) => parser.push(id));
  assert.deepEqual(before.map((event) => event.type === "text-delta" && event.text).join(""), "ok");
  assert.equal(parser.inCall, false);
  assert.deepEqual(parser.push(start!), []);
  assert.equal(parser.inCall, true);
  const deltas = idsOf(tokenizer, '«plugin»\n{"name":"f","parameters":{"a":"}"}}').flatMap((id) => parser.push(id));
  assert.deepEqual(deltas[0], { type: "tool-call-delta", index: 0, id: "x0", name: "f", arguments: "" });
  assert.equal(deltas.map((event) => (event.type === "tool-call-delta" ? event.arguments : "?")).join(""), '{"a":"}"}');
  assert.deepEqual(parser.push(end!), [
    { type: "tool-call", toolCall: { id: "x0", name: "f", arguments: '{"a":"}"}' } },
  ]);
  assert.deepEqual(parser.end(), []);
});

test("a call's object: nested values, escapes, repeated and foreign keys", () => {
  assert.deepEqual(parseCallBody('{"id": "}", "parameters": {"a": [1, {"b": "\\"},"}]} , "name": "f"}'), {
    name: "f",
    arguments: '{"a": [1, {"b": "\\"},"}]}',
  });
  assert.deepEqual(parseCallBody('{"name": "f", "arguments": {"a": 1}}'), { name: "f", arguments: '{"a": 1}' });
  assert.deepEqual(parseCallBody('{"name": "f", "parameters": {"a": 1}, "parameters": {}}'), {
    name: "f",
    arguments: "{}",
  });
});

test("other dialects: calls in tags and bare ones, streamed as they are whole", async () => {
  const tokenizer = await createSmall();
  const a = { name: "f", arguments: '{"a": "x </tool_call> {"}' };
  const b = { name: "g", arguments: "{}" };
  const tagged = (call: typeof a, key: string): string => `{"name": "${call.name}", "${key}": ${call.arguments}}`;
  const hermes = (call: typeof a): string => `<tool_call>\n${tagged(call, "arguments")}\n</tool_call>`;
  for (const [dialect, text, before, calls] of [
    ["hermes", `I look <tool.\n${hermes(a)}\n${hermes(b)}`, "I look <tool.\n", [a, b]],
    ["plain", hermes(b), "", [b]],
    ["hermes", "no call <tool_call", "no call <tool_call", []],
    ["llama3", `${tagged(a, "parameters")}; ${tagged(b, "parameters")}`, "", [a, b]],
    ["llama3", `{"type": "function", "name": "g", "parameters": {}}`, "", [b]],
    ["llama3", `{"title": 1}`, '{"title": 1}', []],
    ["llama3", `see ${tagged(b, "parameters")}`, `see ${tagged(b, "parameters")}`, []],
  ] as const) {
    const format = callFormat(tokenizer, dialect)!;
    const result = parseToolCalls(tokenizer, tokenizer.encode(text), { format });
    assert.equal(result.text, before, text);
    assert.deepEqual(result.broken, []);
    assert.deepEqual(
      result.toolCalls.map(({ name, arguments: given }) => ({ name, arguments: given })),
      calls,
      text,
    );
    // Byte by byte, as a model may write it.
    const parser = createToolCallParser(tokenizer, { format });
    const events = [...Buffer.from(text)].flatMap((byte) =>
      parser.push(tokenizer.encode(String.fromCharCode(byte))[0]!),
    );
    events.push(...parser.end());
    const pieces = events.map((event) => (event.type === "tool-call-delta" ? event.arguments : "")).join("");
    assert.equal(pieces, calls.map((call) => call.arguments).join(""));
    assert.equal(events.map((event) => (event.type === "text-delta" ? event.text : "")).join(""), before);
  }
  const cut = parseToolCalls(tokenizer, tokenizer.encode(hermes(a).slice(0, 40)), {
    format: callFormat(tokenizer, "hermes")!,
  });
  assert.match(cut.broken[0]!.reason, /not finished/);
});
