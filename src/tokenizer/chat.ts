// From a dialogue to ids: InternLM2's chat format as built in, or the checkpoint's own Jinja template.
// Either way, control tokens come from the format and never from what the messages say.
import { Failure } from "../protocol/errors.ts";
import type { Message, ToolCall, ToolDefinition } from "../protocol/message.ts";
import { createTemplateRenderer } from "./chat-template.ts";
import type { TokenEntry } from "./data.ts";
import { createIdBuffer } from "./ids.ts";
import type { ChatDialect, ChatOptions, ChatPiece } from "./tokenizer.ts";

/** Control tokens of InternLM2's chat format. */
export const CHAT_TOKENS = [
  "<|im_start|>",
  "<|im_end|>",
  "<|action_start|>",
  "<|action_end|>",
  "<|plugin|>",
  "<|interpreter|>",
] as const;

/** InternLM2's chat format as a Jinja template: gives the same ids as the built-in encoder below. */
export const INTERNLM2_TEMPLATE = [
  "{{- bos_token }}",
  "{%- macro tool_turn() %}",
  "{{- '<|im_start|>system name=<|plugin|>\\n[' }}",
  "{%- for tool in tools %}",
  "{%- set definition = tool.function if tool.function is defined else tool %}",
  "{{- (', ' if not loop.first else '') + '{\"name\": ' + (definition.name | tojson) }}",
  "{{- ', \"description\": ' + (definition.description | tojson) }}",
  "{{- ', \"parameters\": ' + (definition.parameters | tojson) + '}' }}",
  "{%- endfor %}",
  "{{- ']<|im_end|>\\n' }}",
  "{%- endmacro %}",
  "{%- set state = namespace(tools_pending=(tools is defined and tools)) %}",
  "{%- for message in messages %}",
  "{%- if state.tools_pending and message.role != 'system' %}",
  "{{- tool_turn() }}{% set state.tools_pending = false %}",
  "{%- endif %}",
  "{%- if message.role == 'tool' %}",
  "{{- '<|im_start|>environment name=<|plugin|>\\n' }}",
  "{%- else %}",
  "{{- '<|im_start|>' + message.role + (' name=' + message.name if message.name else '') + '\\n' }}",
  "{%- endif %}",
  "{{- message.content or '' }}",
  "{%- for call in message.tool_calls or [] %}",
  "{%- set function = call.function if call.function is defined else call %}",
  "{{- '<|action_start|><|plugin|>\\n{\"name\": ' + (function.name | tojson) + ', \"parameters\": ' }}",
  "{{- (function.arguments if function.arguments is string else function.arguments | tojson) + '}<|action_end|>' }}",
  "{%- endfor %}",
  "{{- '<|im_end|>\\n' }}",
  "{%- endfor %}",
  "{%- if state.tools_pending %}{{- tool_turn() }}{% endif %}",
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}",
].join("\n");

/** The templates of a checkpoint, as Jinja sources. */
export interface ChatTemplates {
  usual?: string | undefined;
  /** Used instead where tools are given. */
  withTools?: string | undefined;
}

/** InternLM 1's chat format. Its checkpoints have no template; system texts stand as a turn of their own. */
const INTERNLM_TEMPLATE = [
  "{{- bos_token }}",
  "{%- for message in messages %}",
  "{%- if message.role == 'assistant' %}{{- '<|Bot|>:' + message.content + '<eoa>\\n' }}",
  "{%- elif message.role == 'system' %}{{- '<|System|>:' + message.content + '\\n' }}",
  "{%- elif message.role == 'user' %}{{- '<|User|>:' + message.content + '\\n' }}",
  "{%- else %}{{- raise_exception('InternLM 1 knows no tools') }}",
  "{%- endif %}",
  "{%- endfor %}",
  "{%- if add_generation_prompt %}{{- '<|Bot|>:' }}{% endif %}",
].join("\n");

export interface ChatSource {
  /** Ids of the control tokens by name. */
  controlIds: ReadonlyMap<string, number>;
  /** By id: says which control tokens take white space along. */
  tokens: readonly (TokenEntry | undefined)[];
  templates: ChatTemplates;
  /** bos_token, eos_token ...: what templates call the control tokens. */
  names: Readonly<Record<string, string | undefined>>;
}

export type ChatRenderer = (messages: readonly Message[], options?: ChatOptions) => ChatPiece[];

/** The ids of rendered pieces: each text is encoded in one go, as a tokenizer does that splits at control tokens. */
export function encodePieces(pieces: readonly ChatPiece[], encode: (text: string) => Int32Array): Int32Array {
  const ids = createIdBuffer();
  for (const piece of pieces) {
    if (typeof piece === "number") ids.push(piece);
    else ids.append(encode(piece));
  }
  return ids.take();
}

/** Control tokens that end a turn in one family or another, or the text where a turn's end is the usual EOS. */
export const TURN_ENDS = [
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<|endoftext|>",
  "<end_of_turn>",
  "<eoa>",
] as const;

/** InternLM2's published template, which knows no tools: its dialogues are those of the built-in encoder. */
const PUBLISHED_INTERNLM2 =
  "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

function usesBuiltIn({ controlIds, templates }: Pick<ChatSource, "controlIds" | "templates">): boolean {
  const { usual } = templates;
  return (
    CHAT_TOKENS.every((name) => controlIds.has(name)) &&
    templates.withTools === undefined &&
    (usual === undefined || usual === INTERNLM2_TEMPLATE || usual.replaceAll("\n", "\\n") === PUBLISHED_INTERNLM2)
  );
}

/** From the control tokens and the template; `hasText` says whether a text is an added token. */
export function chatDialectOf(
  source: Pick<ChatSource, "controlIds" | "templates"> & { hasText(text: string): boolean },
): ChatDialect {
  const { controlIds, templates, hasText } = source;
  if (usesBuiltIn(source)) return "internlm2";
  const template = templates.withTools ?? templates.usual ?? "";
  if (template.includes("<|action_start|>") && controlIds.has("<|action_start|>")) return "internlm2";
  if (template.includes("<tool_call>")) return "hermes";
  if (controlIds.has("<|start_header_id|>") && controlIds.has("<|eot_id|>")) return "llama3";
  if (controlIds.has("<tool_call>") || hasText("<tool_call>")) return "hermes";
  return "plain";
}

/** The renderer throws Failure("input") where there is no template, or the template refuses the dialogue. */
export function createChatRenderer(source: ChatSource): ChatRenderer {
  if (usesBuiltIn(source)) return createInternLm2(source);
  const usual = source.templates.usual ?? source.templates.withTools;
  if (usual === undefined && source.controlIds.has("<eoa>") && source.controlIds.has("<eoh>")) {
    return createTemplateRenderer({ ...source, template: INTERNLM_TEMPLATE });
  }
  if (usual === undefined) {
    return () => {
      throw new Failure(
        "input",
        "this tokenizer has no chat template, so a dialogue cannot be turned into tokens",
        "Give the model a raw prompt, or use a checkpoint whose tokenizer_config.json has a chat_template.",
      );
    };
  }
  const render = createTemplateRenderer({ ...source, template: usual });
  if (source.templates.withTools === undefined) return render;
  const renderWithTools = createTemplateRenderer({ ...source, template: source.templates.withTools });
  return (messages, options) => ((options?.tools ?? []).length > 0 ? renderWithTools : render)(messages, options);
}

function createInternLm2({ controlIds, names }: ChatSource): ChatRenderer {
  const control = (name: string) => controlIds.get(name)!;
  return (messages, { tools = [], addGenerationPrompt = false } = {}) => {
    const pieces: ChatPiece[] = [];
    let text = "";
    const write = (...parts: readonly (string | { control: string })[]) => {
      for (const part of parts) {
        if (typeof part === "string") text += part;
        else {
          if (text !== "") pieces.push(text);
          text = "";
          pieces.push(control(part.control));
        }
      }
    };
    const [start, end, plugin] = ["<|im_start|>", "<|im_end|>", "<|plugin|>"].map((name) => ({ control: name })) as [
      { control: string },
      { control: string },
      { control: string },
    ];
    let toolsPending = tools.length > 0;
    const writeTools = () => {
      toolsPending = false;
      write(start, "system name=", plugin, `\n[${tools.map(writeDefinition).join(", ")}]`, end, "\n");
    };

    if (names["bos_token"] !== undefined) write({ control: names["bos_token"] });
    for (const message of messages) {
      if (toolsPending && message.role !== "system") writeTools();
      if (message.role === "tool") write(start, "environment name=", plugin, "\n");
      else write(start, `${message.role}${message.name ? ` name=${message.name}` : ""}\n`);
      write(message.content);
      for (const call of message.toolCalls ?? []) {
        write({ control: "<|action_start|>" }, plugin, `\n${writeCall(call)}`, { control: "<|action_end|>" });
      }
      write(end, "\n");
    }
    if (toolsPending) writeTools();
    if (addGenerationPrompt) write(start, "assistant\n");
    if (text !== "") pieces.push(text);
    return pieces;
  };
}

/** The object that a model writes to call a tool; the arguments stand as they were written. */
export function writeCall({ name, arguments: parameters }: Pick<ToolCall, "name" | "arguments">): string {
  return `{"name": ${JSON.stringify(name)}, "parameters": ${parameters}}`;
}

function writeDefinition({ name, description, parameters }: ToolDefinition): string {
  return `{"name": ${toJson(name)}, "description": ${toJson(description)}, "parameters": ${toJson(parameters)}}`;
}

/** JSON with a space after colons and commas, as Python's json.dumps and the templates' tojson write it. */
function toJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toJson).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}: ${toJson(item)}`).join(", ")}}`;
  }
  return JSON.stringify(value) ?? "null";
}
