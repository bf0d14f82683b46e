// What the client sends: a GenerateRequest as the body of a chat or text completion. Only what differs from a neutral
// value is sent, as servers refuse fields that they do not know.
import type { GenerateRequest, Message, ResponseFormat } from "../protocol/index.ts";

/** The path and the body of a request that streams. */
export function toWire(model: string, request: GenerateRequest): { path: string; body: Record<string, unknown> } {
  const { input, adapter } = request;
  const common = {
    model: adapter === undefined ? model : `${model}:${adapter}`,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: request.maxTokens,
    temperature: request.temperature,
    top_p: request.topP,
    top_k: unless(request.topK, 0),
    min_p: unless(request.minP, 0),
    typical_p: unless(request.typicalP, 1),
    repetition_penalty: unless(request.repetitionPenalty, 1),
    presence_penalty: unless(request.presencePenalty, 0),
    frequency_penalty: unless(request.frequencyPenalty, 0),
    logit_bias: request.logitBias,
    seed: request.seed,
    min_new_tokens: unless(request.minTokens, 0),
    ignore_eos: unless(request.ignoreEos, false),
    priority: unless(request.priority, 0),
    stop: request.stop?.length ? request.stop : undefined,
    response_format: request.responseFormat && toWireFormat(request.responseFormat),
  };
  if (!("messages" in input)) {
    const prompt = "prompt" in input ? input.prompt : input.promptIds;
    return { path: "/completions", body: { ...common, prompt, logprobs: request.logprobs } };
  }
  const { tools, toolChoice: choice, logprobs } = request;
  return {
    path: "/chat/completions",
    body: {
      ...common,
      messages: input.messages.map(toWireMessage),
      ...(logprobs !== undefined && { logprobs: true, top_logprobs: logprobs }),
      tools: tools?.length ? tools.map((definition) => ({ type: "function", function: definition })) : undefined,
      tool_choice: typeof choice === "object" ? { type: "function", function: choice } : choice,
      parallel_tool_calls: unless(request.parallelToolCalls, true),
      chat_template_kwargs: request.templateOptions,
    },
  };
}

/** A value, unless it is the one that its absence means. */
function unless<Value>(value: Value | undefined, neutral: Value): Value | undefined {
  return value === neutral ? undefined : value;
}

function toWireFormat(format: ResponseFormat): object {
  return format.type === "json_schema"
    ? { type: "json_schema", json_schema: { name: "answer", schema: format.schema, strict: true } }
    : format;
}

function toWireMessage({ role, content, toolCalls, toolCallId, name }: Message): Record<string, unknown> {
  return {
    role,
    content,
    name,
    tool_call_id: toolCallId,
    tool_calls: toolCalls?.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    })),
  };
}
