// A model in this process as a provider of the AI SDK (version 4 of its provider interface, which `ai` 7 reads):
// generateText and streamText without a server between. The interface is followed by shape; nothing of it is imported.
import { Failure, type GenerateRequest, type LanguageModel, type Message, type Usage } from "../protocol/index.ts";
import { answerEvents, wholeAnswer } from "./answer-events.ts";
import { given } from "./body.ts";
import { need, type Servable } from "./models.ts";

type Part =
  | { type: "text"; text: string }
  | { type: "reasoning"; text: string }
  | { type: "tool-call"; toolCallId: string; toolName: string; input: unknown }
  | { type: "tool-result"; toolCallId: string; output: ToolOutput }
  | { type: "file" | "reasoning-file" | "custom" | "tool-approval-response" };
type ToolOutput =
  | { type: "text" | "error-text"; value: string }
  | { type: "json" | "error-json"; value: unknown }
  | { type: "execution-denied"; reason?: string }
  | { type: "content"; value: readonly ({ type: "text"; text: string } | { type: "file" | "custom" })[] };
type PromptMessage =
  | { role: "system"; content: string }
  | { role: "user" | "assistant" | "tool"; content: readonly Part[] };

/** What the SDK asks of a language model; fields that no model here reads are left out. */
export interface CallOptions {
  prompt: readonly PromptMessage[];
  maxOutputTokens?: number;
  temperature?: number;
  stopSequences?: string[];
  topP?: number;
  topK?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  responseFormat?: { type: "text" } | { type: "json"; schema?: object };
  seed?: number;
  tools?: readonly (
    | { type: "function"; name: string; description?: string; inputSchema: object }
    | { type: "provider"; name: string }
  )[];
  toolChoice?: { type: "auto" | "none" | "required" } | { type: "tool"; toolName: string };
  abortSignal?: AbortSignal;
  /** More fields of GenerateRequest, under "lianlu": minP, typicalP, repetitionPenalty, templateOptions ... */
  providerOptions?: Record<string, Record<string, unknown>>;
}

interface Warning {
  type: "unsupported";
  feature: string;
}
interface FinishReason {
  unified: "stop" | "length" | "tool-calls";
  raw: string;
}
interface SdkUsage {
  inputTokens: { total: number; noCache: number; cacheRead: number; cacheWrite: undefined };
  outputTokens: { total: number; text: undefined; reasoning: undefined };
}
type Content =
  | { type: "text"; text: string }
  | { type: "tool-call"; toolCallId: string; toolName: string; input: string };
type StreamPart =
  | { type: "stream-start"; warnings: Warning[] }
  | { type: "text-start" | "text-end"; id: string }
  | { type: "text-delta"; id: string; delta: string }
  | { type: "tool-input-start"; id: string; toolName: string }
  | { type: "tool-input-delta"; id: string; delta: string }
  | { type: "tool-input-end"; id: string }
  | Extract<Content, { type: "tool-call" }>
  | { type: "finish"; usage: SdkUsage; finishReason: FinishReason }
  | { type: "error"; error: unknown };

export interface SdkLanguageModel {
  readonly specificationVersion: "v4";
  readonly provider: string;
  readonly modelId: string;
  readonly supportedUrls: Record<string, RegExp[]>;
  doGenerate(options: CallOptions): Promise<{
    content: Content[];
    finishReason: FinishReason;
    usage: SdkUsage;
    warnings: Warning[];
  }>;
  doStream(options: CallOptions): Promise<{ stream: ReadableStream<StreamPart> }>;
}

export interface SdkEmbeddingModel {
  readonly specificationVersion: "v4";
  readonly provider: string;
  readonly modelId: string;
  readonly maxEmbeddingsPerCall: number;
  readonly supportsParallelCalls: boolean;
  doEmbed(options: { values: string[]; abortSignal?: AbortSignal }): Promise<{
    embeddings: number[][];
    usage: { tokens: number };
    warnings: Warning[];
  }>;
}

export interface LianluProvider {
  /** The model; a name is that of one of its adapters. */
  (adapter?: string): SdkLanguageModel;
  readonly specificationVersion: "v4";
  languageModel(modelId: string): SdkLanguageModel;
  embeddingModel(modelId: string): SdkEmbeddingModel;
  imageModel(modelId: string): never;
}

const maxEmbeddings = 256;

/** A provider over a loaded model, which its owner closes: `generateText({ model: createLianlu(await load(path))() })`. */
export function createLianlu(model: LanguageModel): LianluProvider {
  const languageModel = (name: string = model.id): SdkLanguageModel =>
    createLanguageModel(model, name === model.id ? undefined : name);
  return Object.assign((adapter?: string) => languageModel(adapter), {
    specificationVersion: "v4" as const,
    languageModel,
    embeddingModel: (name: string) => createEmbeddingModel(model, name === model.id ? undefined : name),
    imageModel(): never {
      throw new Failure("usage", `${model.id} makes no images.`);
    },
  });
}

function createLanguageModel(model: LanguageModel, adapter: string | undefined): SdkLanguageModel {
  function start(options: CallOptions) {
    const { request, warnings } = toRequest(options);
    return { events: model.generate({ ...request, ...given({ adapter }) }), warnings };
  }
  return {
    specificationVersion: "v4",
    provider: "lianlu",
    modelId: adapter === undefined ? model.id : `${model.id}:${adapter}`,
    supportedUrls: {},
    async doGenerate(options) {
      const { events, warnings } = start(options);
      const { text, calls, reason, usage } = await wholeAnswer(events);
      return {
        content: [
          ...(text === "" ? [] : [{ type: "text" as const, text }]),
          ...calls.map(({ id, name, arguments: input }) => toolCallPart(id, name, input)),
        ],
        finishReason: { unified: reason, raw: reason },
        usage: toUsage(usage),
        warnings,
      };
    },
    async doStream(options) {
      const { events, warnings } = start(options);
      return { stream: ReadableStream.from(streamParts(events, warnings)) };
    },
  };
}

async function* streamParts(
  events: ReturnType<LanguageModel["generate"]>,
  warnings: Warning[],
): AsyncGenerator<StreamPart, void, void> {
  yield { type: "stream-start", warnings };
  const text = "text";
  let inText = false;
  let callId = "";
  try {
    for await (const event of answerEvents(events)) {
      if (inText && event.type !== "text") {
        yield { type: "text-end", id: text };
        inText = false;
      }
      switch (event.type) {
        case "text":
          if (!inText) yield { type: "text-start", id: text };
          inText = true;
          yield { type: "text-delta", id: text, delta: event.text };
          break;
        case "call-begin":
          callId = event.id;
          yield { type: "tool-input-start", id: callId, toolName: event.name };
          break;
        case "call-piece":
          yield { type: "tool-input-delta", id: callId, delta: event.text };
          break;
        case "call-end":
          yield { type: "tool-input-end", id: callId };
          yield toolCallPart(callId, event.toolCall.name, event.toolCall.arguments);
          break;
        case "finish":
          yield {
            type: "finish",
            usage: toUsage(event.usage),
            finishReason: { unified: event.reason, raw: event.reason },
          };
          break;
        default:
          event satisfies never;
      }
    }
  } catch (error) {
    // The SDK wants failures of a stream as parts of it.
    yield { type: "error", error };
  }
}

function createEmbeddingModel(model: Servable, adapter: string | undefined): SdkEmbeddingModel {
  return {
    specificationVersion: "v4",
    provider: "lianlu",
    modelId: model.id,
    maxEmbeddingsPerCall: maxEmbeddings,
    supportsParallelCalls: true,
    async doEmbed({ values, abortSignal }) {
      const embed = need(model, "embed");
      const { vectors, promptTokens } = await embed(values, given({ adapter, signal: abortSignal }));
      return { embeddings: vectors.map((vector) => [...vector]), usage: { tokens: promptTokens }, warnings: [] };
    },
  };
}

function toolCallPart(toolCallId: string, toolName: string, input: string): Extract<Content, { type: "tool-call" }> {
  return { type: "tool-call", toolCallId, toolName, input };
}

function toUsage({ promptTokens, completionTokens, cachedTokens = 0 }: Usage): SdkUsage {
  return {
    inputTokens: {
      total: promptTokens,
      noCache: promptTokens - cachedTokens,
      cacheRead: cachedTokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: completionTokens, text: undefined, reasoning: undefined },
  };
}

/** Fields of GenerateRequest for which the SDK has no setting of its own. */
const ownOptions: ReadonlySet<string> = new Set<keyof GenerateRequest>([
  "minP",
  "typicalP",
  "repetitionPenalty",
  "logitBias",
  "minTokens",
  "ignoreEos",
  "parallelToolCalls",
  "responseFormat",
  "templateOptions",
  "priority",
]);

/** Throws Failure("input") for parts of messages that are not text, Failure("usage") for options that are unknown. */
function toRequest(options: CallOptions): { request: GenerateRequest; warnings: Warning[] } {
  const { responseFormat: format, tools = [], toolChoice: choice } = options;
  const own = options.providerOptions?.lianlu ?? {};
  const unknown = Object.keys(own).find((name) => !ownOptions.has(name));
  if (unknown !== undefined) {
    throw new Failure(
      "usage",
      `There is no option lianlu.${unknown}.`,
      `Expected one of: ${[...ownOptions].join(", ")}.`,
    );
  }
  const warnings: Warning[] = [];
  for (const each of tools) {
    if (each.type === "provider") warnings.push({ type: "unsupported", feature: `provider tool ${each.name}` });
  }
  const functions = tools.flatMap((each) =>
    each.type === "function"
      ? [
          {
            name: each.name,
            description: each.description ?? "",
            parameters: each.inputSchema as Record<string, unknown>,
          },
        ]
      : [],
  );
  const request: GenerateRequest = {
    ...(own as Partial<GenerateRequest>),
    input: { messages: options.prompt.flatMap(toMessages) },
    ...given({
      maxTokens: options.maxOutputTokens,
      temperature: options.temperature,
      stop: options.stopSequences,
      topP: options.topP,
      topK: options.topK,
      presencePenalty: options.presencePenalty,
      frequencyPenalty: options.frequencyPenalty,
      seed: options.seed,
      signal: options.abortSignal,
      tools: functions.length > 0 ? functions : undefined,
      toolChoice: choice && (choice.type === "tool" ? { name: choice.toolName } : choice.type),
      responseFormat:
        format?.type !== "json"
          ? undefined
          : format.schema
            ? { type: "json_schema" as const, schema: format.schema as Record<string, unknown> }
            : { type: "json_object" as const },
    }),
  };
  return { request, warnings };
}

function toMessages(message: PromptMessage): Message[] {
  if (message.role === "system") return [message];
  const { role } = message;
  let text = "";
  const toolCalls: NonNullable<Message["toolCalls"]> = [];
  const results: Message[] = [];
  for (const part of message.content) {
    switch (part.type) {
      case "text":
        text += part.text;
        break;
      case "tool-call":
        toolCalls.push({ id: part.toolCallId, name: part.toolName, arguments: JSON.stringify(part.input) });
        break;
      case "tool-result":
        results.push({ role: "tool", content: outputText(part.output), toolCallId: part.toolCallId });
        break;
      case "reasoning":
      case "tool-approval-response":
        // What a model thought before is not part of its dialogue.
        break;
      case "file":
      case "reasoning-file":
      case "custom":
        throw notText(part.type);
      default:
        part satisfies never;
    }
  }
  if (role === "tool") return results;
  return [{ role, content: text, ...(toolCalls.length > 0 && { toolCalls }) }, ...results];
}

function notText(type: string): Failure {
  return new Failure("input", `A message has a part of type ${type}; this model reads text alone.`);
}

function outputText(output: ToolOutput): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "The call was denied.";
    case "content":
      return output.value
        .map((part) => {
          if (part.type === "text") return part.text;
          throw notText(part.type);
        })
        .join("");
    default:
      return output satisfies never;
  }
}
