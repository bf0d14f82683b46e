// Masks by the templates of the field: what is learnt, shown in brackets, and that what stands before it is a prompt's.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ToolDefinition } from "../../protocol/message.ts";
import { assembleTokenizer } from "../../tokenizer/assemble.ts";
import { INTERNLM2_TEMPLATE, type Tokenizer } from "../../tokenizer/index.ts";
import { encodeAnswer, encodeDialogue, encodePrompt, type EncodedDialogue, type EncodeOptions } from "./encode.ts";
import type { DialogueMessage } from "./record.ts";

const controls = [
  "<s>",
  "</s>",
  "<|im_start|>",
  "<|im_end|>",
  "<|action_start|>",
  "<|action_end|>",
  "<|plugin|>",
  "<|interpreter|>",
];
/** A token of its own, as large vocabularies have it. */
const twoBreaks = 256 + controls.length;

/** Bytes, control tokens, and one token for two line breaks. */
function tokenizerWith(template: string | undefined): Tokenizer {
  const encode = (text: string): Int32Array => {
    const ids: number[] = [];
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at++) {
      if (bytes[at] === 10 && bytes[at + 1] === 10) {
        ids.push(twoBreaks);
        at++;
      } else ids.push(bytes[at]!);
    }
    return Int32Array.from(ids);
  };
  return assembleTokenizer({
    tokens: [
      ...Array.from({ length: 256 }, (_, byte) => ({ bytes: Uint8Array.of(byte), kind: "merged" as const })),
      ...controls.map((name) => ({ bytes: new Uint8Array(Buffer.from(name)), kind: "control" as const })),
      { bytes: Uint8Array.of(10, 10), kind: "merged" },
      // Templates look for it in what was said.
      { bytes: new Uint8Array(Buffer.from("</think>")), kind: "added" },
    ],
    encode,
    addsLeadingSpace: false,
    bosId: 256,
    eosId: 257,
    padId: undefined,
    templates: { usual: template },
    names: { bos_token: "<s>", eos_token: "</s>" },
  });
}

/** The ids of an example as text, what is learnt in brackets, "·" where a token begins within them. */
function show(tokenizer: Tokenizer, { tokens, targets }: Pick<EncodedDialogue, "tokens" | "targets">): string {
  const last = targets.at(-1)!;
  const ids = [...tokens, last];
  let text = "";
  let open = false;
  for (const [index, id] of ids.entries()) {
    const learnt = index > 0 && targets[index - 1]! >= 0;
    if (learnt) assert.equal(targets[index - 1], id);
    if (learnt !== open) text += learnt ? "[" : "]";
    open = learnt;
    text += id === twoBreaks ? "⏎⏎" : tokenizer.isControl(id) ? controls[id - 256] : String.fromCharCode(id);
  }
  return `${text}${open ? "]" : ""}`.replaceAll("\n", "⏎");
}

const dialogue = (messages: DialogueMessage[], tools?: ToolDefinition[]) => ({
  kind: "dialogue" as const,
  messages,
  ...(tools && { tools }),
});
const shown = (tokenizer: Tokenizer, messages: DialogueMessage[], options?: EncodeOptions): string[] =>
  encodeDialogue(tokenizer, dialogue(messages), options).map((example) => show(tokenizer, example));

const twoTurns: DialogueMessage[] = [
  { role: "system", content: "s" },
  { role: "user", content: "a" },
  { role: "assistant", content: "b" },
  { role: "user", content: "c" },
  { role: "assistant", content: "d" },
];

test("InternLM2: XTuner's dialect leaves out the line break after a turn, LLaMA-Factory's learns it", () => {
  const tokenizer = tokenizerWith(INTERNLM2_TEMPLATE);
  const head = "<s><|im_start|>system⏎s<|im_end|>⏎<|im_start|>user⏎a<|im_end|>⏎<|im_start|>assistant⏎";
  assert.deepEqual(shown(tokenizer, twoTurns), [
    `${head}[b<|im_end|>]⏎<|im_start|>user⏎c<|im_end|>⏎<|im_start|>assistant⏎[d<|im_end|>]`,
  ]);
  assert.deepEqual(shown(tokenizer, twoTurns, { mask: "llama-factory" }), [
    `${head}[b<|im_end|>⏎]<|im_start|>user⏎c<|im_end|>⏎<|im_start|>assistant⏎[d<|im_end|>⏎]`,
  ]);
  assert.deepEqual(shown(tokenizer, twoTurns, { lastTurnOnly: true }), [
    `${head}b<|im_end|>⏎<|im_start|>user⏎c<|im_end|>⏎<|im_start|>assistant⏎[d<|im_end|>]`,
  ]);
  const marked = twoTurns.map((message, index) => (index === 4 ? { ...message, loss: false } : message));
  // What follows the last answer that is learnt is left out.
  assert.deepEqual(shown(tokenizer, marked), [`${head}[b<|im_end|>]`]);
  assert.deepEqual(shown(tokenizer, marked.slice(0, 2)), []);
});

test("an answer that begins with a line break has the ids that the model would give behind its prompt", () => {
  const tokenizer = tokenizerWith(INTERNLM2_TEMPLATE);
  const messages: DialogueMessage[] = [
    { role: "user", content: "a" },
    { role: "assistant", content: "\n\nb" },
  ];
  const [example] = encodeDialogue(tokenizer, dialogue(messages));
  assert.equal(show(tokenizer, example!), "<s><|im_start|>user⏎a<|im_end|>⏎<|im_start|>assistant⏎[⏎⏎b<|im_end|>]");
  const prompt = encodePrompt(tokenizer, messages.slice(0, 1), undefined);
  assert.deepEqual(example!.tokens.slice(0, prompt.length), prompt);
  assert.deepEqual(prompt, tokenizer.encodeChat(messages.slice(0, 1), { addGenerationPrompt: true }));
});

test("calls are learnt, results and tools are not", () => {
  const tokenizer = tokenizerWith(INTERNLM2_TEMPLATE);
  const tools = [{ name: "tone", description: "", parameters: {} }];
  const messages: DialogueMessage[] = [
    { role: "user", content: "a" },
    { role: "assistant", content: "", toolCalls: [{ id: "1", name: "tone", arguments: "{}" }] },
    { role: "tool", content: "r", toolCallId: "1" },
    { role: "assistant", content: "b" },
  ];
  const [example] = encodeDialogue(tokenizer, dialogue(messages, tools));
  assert.equal(
    show(tokenizer, example!),
    '<s><|im_start|>system name=<|plugin|>⏎[{"name": "tone", "description": "", "parameters": {}}]<|im_end|>⏎' +
      "<|im_start|>user⏎a<|im_end|>⏎<|im_start|>assistant⏎" +
      '[<|action_start|><|plugin|>⏎{"name": "tone", "parameters": {}}<|action_end|><|im_end|>]⏎' +
      "<|im_start|>environment name=<|plugin|>⏎r<|im_end|>⏎<|im_start|>assistant⏎[b<|im_end|>]",
  );
  // A template that knows no tools: they are told in words, as to a model that is served.
  const plain = tokenizerWith(zephyr);
  const [told] = encodeDialogue(plain, dialogue(messages, tools));
  const text = show(plain, told!);
  assert.match(text, /^<\|system\|>⏎You can call the tools below/);
  assert.match(text, /\[<tool_call>⏎\{"name": "tone", "arguments": \{\}\}⏎<\/tool_call><\/s>\]/);
  const [untold] = encodeDialogue(plain, dialogue(messages));
  assert.match(show(plain, untold!), /^<\|user\|>⏎a<\/s>⏎<\|assistant\|>⏎\[<tool_call>/);
  assert.match(text, /⏎<tool_response>⏎r⏎<\/tool_response><\/s>⏎<\|assistant\|>⏎\[b<\/s>\]$/);
});

/** Roles in plain text, as Zephyr and TinyLlama have them: the text after a turn's end goes on with the next turn. */
const zephyr =
  "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

test("roles in plain text: an answer ends within a text that goes on", () => {
  const tokenizer = tokenizerWith(zephyr);
  assert.deepEqual(shown(tokenizer, twoTurns.slice(1)), [
    "<|user|>⏎a</s>⏎<|assistant|>⏎[b</s>]⏎<|user|>⏎c</s>⏎<|assistant|>⏎[d</s>]",
  ]);
  assert.deepEqual(shown(tokenizer, twoTurns.slice(1), { mask: "llama-factory" }), [
    "<|user|>⏎a</s>⏎<|assistant|>⏎[b</s>⏎]<|user|>⏎c</s>⏎<|assistant|>⏎[d</s>⏎]",
  ]);
});

test("a template that strips contents gives the mask of what it writes", () => {
  const tokenizer = tokenizerWith(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}" +
      "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}",
  );
  const messages: DialogueMessage[] = [
    { role: "user", content: " a " },
    { role: "assistant", content: "\n b \n" },
  ];
  assert.deepEqual(shown(tokenizer, messages), ["<|im_start|>user⏎⏎a<|im_end|><|im_start|>assistant⏎⏎[b<|im_end|>]"]);
});

/** Thoughts stand in the last answer alone, as Qwen3 has it. */
const dropsThoughts =
  "{% for m in messages %}{% set parts = m.content.split('</think>') %}<|im_start|>{{ m.role }}\n" +
  "{% if loop.last and parts | length > 1 %}{{ m.content }}{% else %}{{ parts[-1] }}{% endif %}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

test("where earlier thoughts are dropped, each answer is learnt behind what the model would see", () => {
  const tokenizer = tokenizerWith(dropsThoughts);
  const messages: DialogueMessage[] = [
    { role: "user", content: "a" },
    { role: "assistant", content: "<think>t</think>b" },
    { role: "user", content: "c" },
    { role: "assistant", content: "<think>u</think>d" },
    { role: "user", content: "e" },
    { role: "assistant", content: "f" },
  ];
  const first = "<|im_start|>user⏎a<|im_end|>⏎<|im_start|>assistant⏎";
  const second = "b<|im_end|>⏎<|im_start|>user⏎c<|im_end|>⏎<|im_start|>assistant⏎";
  assert.deepEqual(shown(tokenizer, messages), [
    `${first}[<think>t</think>b<|im_end|>]`,
    `${first}${second}[<think>u</think>d<|im_end|>]`,
    `${first}${second}d<|im_end|>⏎<|im_start|>user⏎e<|im_end|>⏎<|im_start|>assistant⏎[f<|im_end|>]`,
  ]);
  assert.equal(shown(tokenizer, messages, { lastTurnOnly: true }).length, 1);
});

test("a thought that the template opens for the model and an answer leaves out is no part of the prompt", () => {
  const tokenizer = tokenizerWith(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}" +
      "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
  );
  assert.deepEqual(shown(tokenizer, twoTurns.slice(1, 3)), [
    "<|im_start|>user⏎a<|im_end|><|im_start|>assistant⏎[b<|im_end|>]",
  ]);
});

test("a template that changes what was said before an answer is refused", () => {
  const tokenizer = tokenizerWith(
    "{{ messages | length }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}",
  );
  assert.throws(() => shown(tokenizer, twoTurns), { kind: "input", message: /renders what comes before an answer/ });
});

test("an answer of several messages is learnt as a whole, and its prompt is not", () => {
  const tokenizer = tokenizerWith(INTERNLM2_TEMPLATE);
  const example = encodeAnswer(tokenizer, twoTurns.slice(0, 4), twoTurns.slice(4), undefined);
  assert.equal(show(tokenizer, example), shown(tokenizer, twoTurns, { lastTurnOnly: true })[0]);
});

test("turn ends are where an example can be cut", () => {
  const tokenizer = tokenizerWith(INTERNLM2_TEMPLATE);
  const [example] = encodeDialogue(tokenizer, dialogue(twoTurns));
  const [first, second] = example!.turnEnds;
  assert.equal(second, example!.tokens.length);
  const cut = { tokens: example!.tokens.slice(0, first), targets: example!.targets.slice(0, first) };
  assert.equal(show(tokenizer, cut), shown(tokenizer, twoTurns.slice(0, 3))[0]);
});
