// Renders a dialogue by a checkpoint's Jinja chat template, so that nothing in the messages becomes a control token.
//
// How: before rendering, a mark (a character that occurs nowhere in the input) is put into every string of the messages
// after each character with which a control token can begin. Control tokens that are whole in the rendered text then come
// from the template; the marks are taken out of the rest. The template sees real contents otherwise, so that it can trim,
// split and compare them. Added tokens that are no control tokens (<think>, <tool_response>) stay as they are: templates
// look for them to drop what a model thought before.
//
// Limits: a template that itself writes the first character of a control token and lets a message complete the rest
// would be fooled; one that compares a message with other text that holds such a character misses it.
import { Template } from "@huggingface/jinja";
import { Failure } from "../protocol/errors.ts";
import type { Message, ToolCall, ToolDefinition } from "../protocol/message.ts";
import type { ChatRenderer, ChatSource } from "./chat.ts";
import { alternation, fromUtf8 } from "./data.ts";
import type { TokenEntry } from "./data.ts";
import type { ChatPiece } from "./tokenizer.ts";

export function createTemplateRenderer({
  controlIds,
  tokens,
  template,
  names,
}: Omit<ChatSource, "templates"> & { template: string }): ChatRenderer {
  const controlNames = [...controlIds.keys()].filter((name) => name !== "");
  const firstCharacters = new Set(controlNames.map((name) => String.fromCodePoint(name.codePointAt(0)!)));
  const harmless = alternation(harmlessTexts(tokens, controlNames, firstCharacters)) ?? "(?!)";
  const openings = new RegExp(`${harmless}|(${alternation([...firstCharacters]) ?? "(?!)"})`, "gu");
  const controls = new RegExp(alternation(controlNames) ?? "(?!)", "g");
  let parsed: Template | undefined;

  return (messages, { tools = [], addGenerationPrompt = false, templateOptions = {} } = {}) => {
    const mark = chooseMark(JSON.stringify([messages, tools, templateOptions, template, controlNames]));
    const shield = <Value>(value: Value): Value =>
      mapStrings(value, (text) =>
        text.replace(openings, (found, opening?: string) => (opening === undefined ? found : found + mark)),
      );
    let rendered: string;
    try {
      parsed ??= new Template(template);
      rendered = parsed.render({
        ...shield(templateOptions),
        ...names,
        messages: messages.map((message) => toTemplateMessage(message, shield)),
        ...(tools.length > 0 ? { tools: tools.map((tool) => toTemplateTool(tool, shield)) } : {}),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (error) {
      throw new Failure(
        "input",
        `the checkpoint's chat template refused the dialogue: ${(error as Error).message}`,
        "Look at chat_template in tokenizer_config.json: many templates want user and assistant to take turns.",
        { cause: error },
      );
    }

    const pieces: ChatPiece[] = [];
    let position = 0;
    let stripLeft = false;
    const write = (end: number, stripRight: boolean) => {
      let text = rendered.slice(position, end).replaceAll(mark, "");
      if (stripLeft) text = text.trimStart();
      if (stripRight) text = text.trimEnd();
      if (text !== "") pieces.push(text);
    };
    for (const match of rendered.matchAll(controls)) {
      const id = controlIds.get(match[0])!;
      write(match.index, tokens[id]?.stripLeft === true);
      pieces.push(id);
      stripLeft = tokens[id]?.stripRight === true;
      position = match.index + match[0].length;
    }
    write(rendered.length, false);
    return pieces;
  };
}

/** Texts of added tokens with which no control token can begin, and within which none can. */
function harmlessTexts(
  tokens: readonly (TokenEntry | undefined)[],
  controlNames: readonly string[],
  firstCharacters: ReadonlySet<string>,
): string[] {
  return tokens.flatMap((token) => {
    const text = token?.kind === "added" ? fromUtf8(token.bytes) : "";
    const [first = "", ...rest] = text;
    const harmless =
      firstCharacters.has(first) &&
      !rest.some((character) => firstCharacters.has(character)) &&
      !controlNames.some((name) => name.startsWith(text) || text.startsWith(name));
    return harmless ? [text] : [];
  });
}

/** A noncharacter or private character that is not in the text. */
function chooseMark(text: string): string {
  for (let code = 0xfdd0; code <= 0xfdef; code++) {
    if (!text.includes(String.fromCharCode(code))) return String.fromCharCode(code);
  }
  for (let code = 0xe000; code <= 0xf8ff; code++) {
    if (!text.includes(String.fromCharCode(code))) return String.fromCharCode(code);
  }
  throw new Failure("input", "the dialogue uses every private character of Unicode", "Shorten the messages.");
}

function mapStrings<Value>(value: Value, change: (text: string) => string): Value {
  if (typeof value === "string") return change(value) as Value;
  if (Array.isArray(value)) return value.map((item: unknown) => mapStrings(item, change)) as Value;
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [change(key), mapStrings<unknown>(item, change)]),
    ) as Value;
  }
  return value;
}

type Shield = <Value>(value: Value) => Value;

/** Messages and tools as Hugging Face's templates know them: OpenAI's shapes, arguments as an object. */
function toTemplateMessage(message: Message, shield: Shield): Record<string, unknown> {
  return {
    role: message.role,
    content: shield(message.content),
    ...(message.name === undefined ? {} : { name: shield(message.name) }),
    ...(message.toolCallId === undefined ? {} : { tool_call_id: shield(message.toolCallId) }),
    ...(message.toolCalls === undefined || message.toolCalls.length === 0
      ? {}
      : {
          tool_calls: message.toolCalls.map((call) => ({
            id: shield(call.id),
            type: "function",
            function: { name: shield(call.name), arguments: shield(parseArguments(call)) },
          })),
        }),
  };
}

function parseArguments(call: ToolCall): unknown {
  try {
    return JSON.parse(call.arguments);
  } catch {
    return call.arguments;
  }
}

function toTemplateTool({ name, description, parameters }: ToolDefinition, shield: Shield): Record<string, unknown> {
  return {
    type: "function",
    function: { name: shield(name), description: shield(description), parameters: shield(parameters) },
  };
}
