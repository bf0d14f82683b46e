// Every format: what is recognised, what is read from it, and what is said of a record that is wrong.
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNames, loadFormats, RecordFault, type RawRecord } from "../format.ts";
import type { Purpose, TrainingRecord } from "../record.ts";

const formats = await loadFormats();
const named = (name: string) => formats.find((format) => format.name === name)!;
const read = (name: string, record: RawRecord, purpose: Purpose = "tune"): readonly TrainingRecord[] => {
  const format = named(name);
  assert.ok(format.detect(record), `${name} does not know its own`);
  return format.read(record, purpose);
};
/** Messages as short texts: "user: a", calls and marks behind. */
const turns = (record: TrainingRecord | undefined): string[] =>
  record?.kind === "dialogue"
    ? record.messages.map(
        ({ role, content, toolCalls = [], loss }) =>
          `${role}: ${content}${toolCalls.map((call) => ` ${call.name}(${call.arguments})#${call.id}`).join("")}${loss === undefined ? "" : ` loss=${loss}`}`,
      )
    : [];
const said = (messages: readonly { role: string; content: string }[]): string[] =>
  messages.map(({ role, content }) => `${role}: ${content}`);
const fault = (name: string, record: RawRecord, field: string, message: RegExp): void =>
  assert.throws(
    () => named(name).read(record, named(name).purposes[0]!),
    (error) => error instanceof RecordFault && error.field === field && message.test(error.message),
  );

test("the folder is the registry", () => {
  assert.deepEqual(formats.map(({ name }) => name).sort(), formatNames());
  for (const { summary, purposes } of formats) assert.ok(summary !== "" && purposes.length > 0);
});

test("alpaca: input behind the instruction, system, history, instances", () => {
  assert.deepEqual(
    turns(read("alpaca", { instruction: "i", input: "x", output: "o", system: "s", history: [["q", "a"]] })[0]),
    ["system: s", "user: q", "assistant: a", "user: i\nx", "assistant: o"],
  );
  const many = read("alpaca", {
    instruction: "i",
    instances: [
      { input: "", output: "1" },
      { input: "x", output: "2" },
    ],
  });
  assert.deepEqual(
    many.map((each) => turns(each)[0]),
    ["user: i", "user: i\nx"],
  );
  fault("alpaca", { instruction: "i", input: "" }, "output", /expected a text, found nothing/);
  fault("alpaca", { instruction: "i", output: "o", history: [["q"]] }, "history[0][1]", /found nothing/);
  fault("alpaca", { instruction: "", output: "o" }, "instruction", /both instruction and input are empty/);
});

test("sharegpt: roles under many names, calls and what they give", () => {
  const record = {
    conversations: [
      { from: "human", value: "a" },
      { from: "function_call", value: '{"name": "look", "arguments": {"at": 1}}' },
      { from: "observation", value: "r" },
      { from: "gpt", value: "b" },
      { from: "human", value: "never answered" },
    ],
    system: "s",
    tools: '[{"name": "look", "description": "d", "parameters": {"type": "object"}}]',
  };
  const [dialogue] = read("sharegpt", record);
  assert.deepEqual(turns(dialogue), [
    "system: s",
    "user: a",
    'assistant:  look({"at":1})#call_1',
    "tool: r",
    "assistant: b",
  ]);
  assert.ok(dialogue?.kind === "dialogue" && dialogue.messages[3]?.toolCallId === "call_1");
  assert.deepEqual(dialogue.tools, [{ name: "look", description: "d", parameters: { type: "object" } }]);
  fault(
    "sharegpt",
    { conversations: [{ from: "nobody", value: "a" }] },
    "conversations[0].from",
    /"nobody" is no role/,
  );
  fault("sharegpt", { conversations: [{ from: "human", value: 3 }] }, "conversations[0].value", /found the number 3/);
  fault("sharegpt", { conversations: [{ from: "human", value: "a" }] }, "conversations", /the assistant says nothing/);
  fault(
    "sharegpt",
    { conversations: [{ from: "function_call", value: "look()" }] },
    "conversations[0].value",
    /expected JSON, found the text "look\(\)"/,
  );
});

test("messages: OpenAI's calls, parts, weights, thoughts", () => {
  const record = {
    messages: [
      { role: "developer", content: "s" },
      { role: "user", content: [{ type: "text", text: "a" }] },
      {
        role: "assistant",
        content: null,
        tool_calls: [
          { id: "x", type: "function", function: { name: "look", arguments: '{"at": 1}' } },
          { id: "y", type: "function", function: { name: "look", arguments: "" } },
        ],
      },
      { role: "tool", tool_call_id: "y", content: "2" },
      { role: "tool", content: "1" },
      { role: "assistant", reasoning_content: "t", content: "b", weight: 0 },
      {
        role: "assistant",
        content: [
          { type: "reasoning", value: "u" },
          { type: "text", value: "c" },
        ],
        loss_weight: 1.0,
      },
    ],
    tools: [{ type: "function", function: { name: "look" } }],
  };
  const [dialogue] = read("messages", record);
  assert.deepEqual(turns(dialogue), [
    "system: s",
    "user: a",
    'assistant:  look({"at": 1})#x look({})#y',
    "tool: 2",
    "tool: 1",
    "assistant: <think>\nt\n</think>\n\nb loss=false",
    "assistant: <think>\nu\n</think>\n\nc loss=true",
  ]);
  assert.ok(dialogue?.kind === "dialogue" && dialogue.messages[4]?.toolCallId === "x");
  const one = (message: object): RawRecord => ({ messages: [message] });
  fault("messages", one({ role: "assistant", content: "a", weight: 0.5 }), "messages[0].weight", /expected 0 or 1/);
  fault("messages", one({ role: "user", content: "a", loss: true }), "messages[0]", /only what the assistant says/);
  fault("messages", one({ role: "user", content: [{ type: "image_url" }] }), "messages[0].content[0].type", /pictures/);
});

test("XTuner's own, completions, Guanaco and plain text", () => {
  assert.deepEqual(
    turns(
      read("xtuner", {
        conversation: [
          { system: "s", input: "a", output: "b", output_with_loss: false },
          { input: "c", output: "d" },
        ],
      })[0],
    ),
    ["system: s", "user: a", "assistant: b loss=false", "user: c", "assistant: d"],
  );
  assert.deepEqual(turns(read("completion", { prompt: "a", completion: "b" })[0]), ["user: a", "assistant: b"]);
  assert.deepEqual(turns(read("completion", { question: "a", answer: "b", system: "s" })[0]), [
    "system: s",
    "user: a",
    "assistant: b",
  ]);
  assert.deepEqual(turns(read("guanaco", { text: "### Human: a\n### Assistant: b ### Human: c### Assistant: d" })[0]), [
    "user: a",
    "assistant: b",
    "user: c",
    "assistant: d",
  ]);
  assert.deepEqual(read("text", { text: "a" }), [{ kind: "text", text: "a" }]);
  fault("text", { content: " \n" }, "content", /empty/);
});

test("OpenAssistant: the best ranked path, from trees and from single messages", () => {
  const tree = {
    prompt: {
      text: "a",
      role: "prompter",
      replies: [
        { text: "worse", role: "assistant", rank: 1, replies: [] },
        { text: "b", role: "assistant", rank: 0, replies: [{ text: "c", role: "prompter", replies: [] }] },
      ],
    },
  };
  assert.deepEqual(turns(read("oasst", tree)[0]), ["user: a", "assistant: b"]);
  assert.deepEqual(named("oasst").read({ prompt: { text: "a", role: "prompter", replies: [] } }, "tune"), []);
  const message = (id: string, parent: string | null, role: string, text: string, rank: number | null) => ({
    message_id: id,
    parent_id: parent,
    role,
    text,
    rank,
  });
  const gathered = named("oasst").gather!([
    message("1", null, "prompter", "a", null),
    message("2", "1", "assistant", "worse", 1),
    message("3", "1", "assistant", "b", 0),
    { ...message("4", "3", "prompter", "gone", null), deleted: true },
    message("5", null, "prompter", "x", null),
  ]);
  assert.equal(gathered.length, 2);
  assert.deepEqual(turns(named("oasst").read(gathered[0]!, "tune")[0]), ["user: a", "assistant: b"]);
});

test("InternEvo: ids and their signs", () => {
  assert.deepEqual(read("internevo", { tokens: [1, -2, 3] }), [{ kind: "tokens", tokens: [1, -2, 3] }]);
  fault("internevo", { tokens: [1, 2.5] }, "tokens[1]", /expected a token id, found the number 2.5/);
});

test("MOSS: plug-ins become tools, commands calls; the older plain text", () => {
  const record = {
    meta_instruction: "You are MOSS.\n- Web search: enabled. API: Search(query)\n- Calculator: disabled.\n",
    chat: {
      turn_2: {
        Human: "<|Human|>: c<eoh>\n",
        "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
        Commands: "<|Commands|>: None<eoc>\n",
        "Tool Responses": "<|Results|>: None<eor>\n",
        MOSS: "<|MOSS|>: d<eom>\n",
      },
      turn_1: {
        Human: "<|Human|>: a<eoh>\n",
        "Inner Thoughts": "<|Inner Thoughts|>: t<eot>\n",
        Commands: '<|Commands|>: Search("x \\"y\\"")<eoc>\n',
        "Tool Responses": "<|Results|>:\nr<eor>\n",
        MOSS: "<|MOSS|>: b<eom>\n",
      },
    },
  };
  const [dialogue] = read("moss", record);
  assert.deepEqual(turns(dialogue).slice(1), [
    "user: a",
    'assistant: t Search({"query":"x \\"y\\""})#turn_1_1',
    "tool: r",
    "assistant: b",
    "user: c",
    "assistant: d",
  ]);
  assert.ok(dialogue?.kind === "dialogue");
  assert.deepEqual(
    dialogue.tools?.map(({ name, description }) => [name, description]),
    [["Search", "Web search"]],
  );
  assert.deepEqual(turns(read("moss", { plain_text: "[Human]: a<eoh> [MOSS]: b<eoa>" })[0]), [
    "user: a",
    "assistant: b",
  ]);
  fault("moss", { chat: { turn_1: { Human: "a" } } }, "chat.turn_1.MOSS", /expected the answer/);
});

test("preference pairs in the common shapes", () => {
  const shapes: RawRecord[] = [
    {
      conversations: [{ from: "human", value: "a" }],
      chosen: { from: "gpt", value: "b" },
      rejected: { from: "gpt", value: "c" },
    },
    { instruction: "a", input: "", chosen: "b", rejected: "c" },
    { prompt: "a", chosen: "b", rejected: "c" },
    { question: "a", chosen: "b", rejected: "c" },
    { chosen: "\n\nHuman: a\n\nAssistant: b", rejected: "\n\nHuman: a\n\nAssistant: c" },
    {
      prompt: "a",
      chosen: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
      rejected: [
        { role: "user", content: "a" },
        { role: "assistant", content: "c" },
      ],
    },
    {
      chosen_messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
      rejected_messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "c" },
      ],
    },
    {
      input: { messages: [{ role: "user", content: "a" }] },
      preferred_output: [{ role: "assistant", content: "b" }],
      non_preferred_output: [{ role: "assistant", content: "c" }],
    },
  ];
  for (const shape of shapes) {
    const [pair] = read("preference", shape, "pair");
    assert.ok(pair?.kind === "pair");
    assert.deepEqual(
      [said(pair.prompt), said(pair.chosen), said(pair.rejected)],
      [["user: a"], ["assistant: b"], ["assistant: c"]],
    );
  }
  const same = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d";
  const [equal] = read("preference", { chosen: same, rejected: same }, "pair");
  assert.ok(equal?.kind === "pair" && equal.prompt.length === 3 && equal.chosen.length === 1);
  fault("preference", { chosen: "b", rejected: "c" }, "chosen", /no prompt in common/);
  fault("preference", { prompt: "a", chosen: "b", rejected: 4 }, "rejected", /found the number 4/);
  const ranked = read("ranking", { instruction: "a", output: ["b", "c", "d"] }, "pair");
  assert.deepEqual(
    ranked.map((pair) => pair.kind === "pair" && [pair.chosen[0]!.content, pair.rejected[0]!.content]),
    [
      ["b", "c"],
      ["b", "d"],
    ],
  );
  fault("ranking", { instruction: "a", output: ["b"] }, "output", /two answers or more/);
});

test("rated answers and prompts", () => {
  for (const shape of [
    {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
      label: false,
    },
    {
      conversations: [
        { from: "human", value: "a" },
        { from: "gpt", value: "b" },
      ],
      kto_tag: false,
    },
    { prompt: "a", completion: "b", label: false },
    { prompt: [{ role: "user", content: "a" }], completion: [{ role: "assistant", content: "b" }], label: false },
    { instruction: "a", input: "", output: "b", kto_tag: 0 },
  ]) {
    const [rated] = read("rating", shape, "rated");
    assert.ok(rated?.kind === "rated");
    assert.deepEqual([said(rated.prompt), said(rated.answer), rated.desirable], [["user: a"], ["assistant: b"], false]);
  }
  fault("rating", { prompt: "a", completion: "b", kto_tag: "yes" }, "kto_tag", /expected true or false/);
  for (const shape of [
    { prompt: "a", answer: "b" },
    { question: "a", answer: "b" },
    { problem: "a", solution: "b" },
    { prompt: [{ role: "user", content: "a" }], reward_model: { ground_truth: "b" } },
    {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
    },
    { instruction: "a", output: "b" },
  ]) {
    const [prompt] = read("prompt", shape, "prompt");
    assert.ok(prompt?.kind === "prompt");
    assert.deepEqual([said(prompt.prompt), prompt.reference, prompt.fields], [["user: a"], "b", shape]);
  }
  assert.deepEqual(read("prompt", { prompt: "a" }, "prompt")[0], {
    kind: "prompt",
    prompt: [{ role: "user", content: "a" }],
    fields: { prompt: "a" },
  });
});
