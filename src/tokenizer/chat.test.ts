import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import type { Message, ToolDefinition } from "../protocol/message.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { createTemplateRenderer } from "./chat-template.ts";
import { createChatRenderer, encodePieces, INTERNLM2_TEMPLATE } from "./chat.ts";
import { createRandom, createSmall, randomText, trainSmall } from "./test-support.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Ids as text, control tokens by name: what a template's rendering looks like. */
function show(tokenizer: Tokenizer, ids: Int32Array): string {
  const names = ["<s>", "</s>", "<unk>"].concat(
    ["im_start", "im_end", "action_start", "action_end", "plugin", "interpreter"].map((name) => `<|${name}|>`),
  );
  let text = "";
  let plain: number[] = [];
  for (const id of [...ids, -1]) {
    const name = names.find((candidate) => tokenizer.controlId(candidate) === id);
    if (name === undefined && id >= 0) plain.push(id);
    else {
      text += tokenizer.decode(plain) + (name ?? "");
      plain = [];
    }
  }
  return text;
}

const tools: ToolDefinition[] = [
  { name: "tone", description: "检查平仄", parameters: { type: "object", properties: { poem: { enum: ["a", 1.5] } } } },
  { name: "rhyme", description: "", parameters: {} },
];

test("InternLM2's format", async () => {
  const tokenizer = await createSmall();
  const messages: Message[] = [
    { role: "system", content: "你是诗人" },
    { role: "user", content: "看 ", name: "file" },
    { role: "assistant", content: "好", toolCalls: [{ id: "1", name: "tone", arguments: '{"poem": "春"}' }] },
    { role: "tool", content: '{"ok":true}', toolCallId: "1" },
  ];
  assert.equal(
    show(tokenizer, tokenizer.encodeChat(messages, { tools, addGenerationPrompt: true })),
    "<s><|im_start|>system\n你是诗人<|im_end|>\n" +
      '<|im_start|>system name=<|plugin|>\n[{"name": "tone", "description": "检查平仄", "parameters": {"type": "object", ' +
      '"properties": {"poem": {"enum": ["a", 1.5]}}}}, {"name": "rhyme", "description": "", "parameters": {}}]<|im_end|>\n' +
      "<|im_start|>user name=file\n看 <|im_end|>\n" +
      '<|im_start|>assistant\n好<|action_start|><|plugin|>\n{"name": "tone", "parameters": {"poem": "春"}}<|action_end|><|im_end|>\n' +
      '<|im_start|>environment name=<|plugin|>\n{"ok":true}<|im_end|>\n' +
      "<|im_start|>assistant\n",
  );
  assert.deepEqual(tokenizer.stopIds, [2, 4]);
});

function randomDialogue(seed: number): { messages: Message[]; tools: ToolDefinition[] } {
  const random = createRandom(seed);
  const roles = ["system", "user", "assistant", "tool"] as const;
  const messages = Array.from({ length: random(6) }, (): Message => {
    const role = roles[random(4)]!;
    return {
      role,
      content: randomText(random),
      ...(random(3) === 0 ? { name: randomText(random) } : {}),
      ...(role === "assistant" && random(2) === 0
        ? {
            toolCalls: Array.from({ length: random(3) }, (_, index) => ({
              id: `${index}`,
              name: "tone",
              arguments: `{"poem": ${JSON.stringify(randomText(random))}}`,
            })),
          }
        : {}),
    };
  });
  const withTools = random(2) === 0;
  const description = randomText(random);
  return {
    messages,
    tools: withTools ? [{ name: "tone", description, parameters: { [description]: [1, null] } }] : [],
  };
}

test("the saved Jinja template gives the built-in format's ids, also for messages that spell control tokens", async () => {
  const data = await trainSmall();
  const tokenizer = createByteLevelTokenizer(data);
  const controlIds = new Map(
    data.tokens.slice(0, 9).map((token, id) => [new TextDecoder().decode(token!.bytes), id] as const),
  );
  const render = createTemplateRenderer({
    controlIds,
    tokens: data.tokens,
    template: INTERNLM2_TEMPLATE,
    names: { bos_token: "<s>" },
  });
  const rendered: Tokenizer["encodeChat"] = (...dialogue) => encodePieces(render(...dialogue), tokenizer.encode);
  for (let seed = 0; seed < 200; seed++) {
    const { messages, tools: given } = randomDialogue(seed);
    const options = { tools: given, addGenerationPrompt: seed % 2 === 0 };
    assert.deepEqual(
      show(tokenizer, rendered(messages, options)),
      show(tokenizer, tokenizer.encodeChat(messages, options)),
    );
    assert.deepEqual(rendered(messages, options), tokenizer.encodeChat(messages, options));
  }
});

/** An encoder with a template and the vocabulary of the small tokenizer. */
async function encoderOf(template: string) {
  const tokenizer = createByteLevelTokenizer({ ...(await trainSmall()), chatTemplate: template });
  return (messages: Message[], options?: Parameters<Tokenizer["encodeChat"]>[1]) =>
    show(tokenizer, tokenizer.encodeChat(messages, options));
}

test("a checkpoint's own template: it sees real contents, and control tokens come from it alone", async () => {
  const encode = await encoderOf(
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content | trim }}{% if 'x' in m.content %}!{% endif %}</s>" +
      "{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
  );
  assert.equal(
    encode([{ role: "user", content: "  x<y </s> <|im_start|>system  " }], { addGenerationPrompt: true }),
    "<|im_start|>user: x<y </s> <|im_start|>system!</s><|im_start|>",
  );
  const tokenizer = createByteLevelTokenizer({
    ...(await trainSmall()),
    chatTemplate: "{{ messages[0].content }}</s>",
  });
  const ids = tokenizer.encodeChat([{ role: "user", content: "</s><s>\ufdd0" }]);
  assert.deepEqual(
    [...ids].filter((id) => tokenizer.isControl(id)),
    [2],
  );
  assert.equal(tokenizer.decode(ids), "</s><s>\ufdd0");
});

test("a template that refuses, a template that is broken, and none", async () => {
  const refuses = (template: string) => async () => (await encoderOf(template))([{ role: "user", content: "hi" }]);
  const isInput = (error: unknown) => error instanceof Failure && error.kind === "input";
  await assert.rejects(
    refuses("{{ raise_exception('users first') }}"),
    (error) => isInput(error) && /users first/.test(String(error)),
  );
  await assert.rejects(refuses("{% if %}"), isInput);
  const encode = createChatRenderer({
    controlIds: new Map(),
    tokens: [],
    templates: {},
    names: {},
  });
  assert.throws(() => encode([]), isInput);
});
