// From a request to what a sequence needs: prompt ids, limits, sampling and a guide; whatever cannot be honoured is
// refused here, before anything is computed.
import { Failure, type GenerateRequest, type ResponseFormat, type ToolDefinition } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import {
  choiceGrammar,
  createConstraint,
  gbnfGrammar,
  jsonObject,
  jsonSchema,
  regexGrammar,
  toolCallGrammar,
  type Constraint,
  type Grammar,
  type ToolTokens,
} from "./grammar/index.ts";
import { constrainedGuide, freeGuide, toolGuide, type Guide } from "./guide.ts";
import type { PenaltyOptions } from "./penalties.ts";
import type { SamplingOptions } from "./sampler.ts";
import { checkNumbers, penaltiesOf, samplingOf } from "./sampling.ts";

/** What `cause.code` of a failure says when a prompt does not fit, for callers that must tell it apart. */
export const contextLengthExceeded = "context_length_exceeded";

/** Constraints are kept for this many schemas; one that has grown over the limit of states is made anew. */
const maxKeptConstraints = 8;
const maxStates = 20_000;

export interface Prepared {
  promptIds: number[];
  maxTokens: number;
  sampling: SamplingOptions;
  penalties: PenaltyOptions;
  /** Alternatives wanted beside each token's log-probability; undefined where none are reported. */
  logprobs: number | undefined;
  stop: readonly string[];
  guide: Guide;
  continuing: boolean;
  adapter: string | undefined;
  priority: number;
}

export type Prepare = (request: GenerateRequest) => Prepared;

/** Prepares the requests of one model. Throws Failure("input") that says what is wrong with a request. */
export function createPreparer(tokenizer: Tokenizer, contextLength: number): Prepare {
  const constraints = new Map<string, Constraint>();

  function constraintOf(key: string, grammar: () => Grammar): Constraint {
    let constraint = constraints.get(key);
    constraints.delete(key);
    if (!constraint || constraint.size() > maxStates) constraint = createConstraint(grammar(), tokenizer);
    constraints.set(key, constraint);
    if (constraints.size > maxKeptConstraints) constraints.delete(constraints.keys().next().value!);
    return constraint;
  }

  function guideOf(request: GenerateRequest, tools: readonly ToolDefinition[]): Guide {
    const { responseFormat = { type: "text" }, toolChoice = "auto", minTokens = 0, ignoreEos = false } = request;
    if ((minTokens > 0 || ignoreEos) && (tools.length > 0 || responseFormat.type !== "text")) {
      throw new Failure(
        "input",
        `The request sets ${ignoreEos ? "ignoreEos" : "minTokens"} beside tools or a response format, which say where the answer ends.`,
        "Leave out one of the two.",
      );
    }
    if (tools.length > 0) {
      if (responseFormat.type !== "text") {
        throw new Failure(
          "input",
          "A response format and tools were asked for together.",
          "Ask for one of them, or set the tool choice to none.",
        );
      }
      const tokens = toolTokens(tokenizer);
      const constraint = constraintOf(JSON.stringify(["tools", tools]), () => toolCallGrammar(tools, tokens));
      return toolChoice === "auto" ? toolGuide(tokenizer, constraint, tokens) : constrainedGuide(constraint, true);
    }
    switch (responseFormat.type) {
      case "text":
        return freeGuide(tokenizer, { minTokens, ignoreEos });
      default: {
        const key = JSON.stringify(responseFormat);
        return constrainedGuide(
          constraintOf(key, () => formatGrammar(responseFormat)),
          false,
        );
      }
    }
  }

  return (request) => {
    const { input, stop = [] } = request;
    checkNumbers(request);
    const tools = chosenTools(request);
    const promptIds = promptOf(tokenizer, request);
    const maxTokens = request.maxTokens ?? contextLength - promptIds.length;
    checkLength(promptIds.length, request.maxTokens, contextLength);
    if ((request.minTokens ?? 0) > maxTokens) {
      throw new Failure("input", `The request has minTokens of ${request.minTokens}, and ${maxTokens} are allowed.`);
    }
    const guide = guideOf(request, tools);
    if (guide.tokensNeeded > maxTokens) {
      throw new Failure(
        "input",
        `The shortest answer of the form that is asked for takes ${guide.tokensNeeded} tokens, and ${maxTokens} are allowed.`,
        "Allow more tokens, or ask for a shorter form.",
      );
    }
    if (stop.some((text) => text === "")) throw new Failure("input", "A stop string is empty.", "Leave it out.");
    if (stop.length > 0 && guide.tokensNeeded > 0) {
      throw new Failure(
        "input",
        "Stop strings would cut an answer whose form is guaranteed.",
        "Leave out one of the two.",
      );
    }
    return {
      promptIds,
      maxTokens,
      sampling: samplingOf(request),
      penalties: penaltiesOf(request, tokenizer.vocabSize),
      logprobs: request.logprobs,
      stop,
      guide,
      continuing: guide.tokensNeeded > 0 || ("prompt" in input && input.prompt !== "") || "promptIds" in input,
      adapter: request.adapter,
      priority: request.priority ?? 0,
    };
  };
}

/** What an answer of a format may be. */
function formatGrammar(format: Exclude<ResponseFormat, { type: "text" }>): Grammar {
  switch (format.type) {
    case "json_object":
      return jsonObject();
    case "json_schema":
      return jsonSchema(format.schema);
    case "regex":
      return regexGrammar(format.pattern);
    case "choice":
      return choiceGrammar(format.choices);
    case "grammar":
      return gbnfGrammar(format.grammar);
    default:
      return format satisfies never;
  }
}

/** Ids of a request's input, as the model will read it. */
export function promptOf(
  tokenizer: Tokenizer,
  request: Pick<GenerateRequest, "input" | "tools" | "toolChoice" | "templateOptions">,
): number[] {
  const { input } = request;
  const tools = chosenTools(request);
  if ("messages" in input) return dialogue(tokenizer, input.messages, tools);
  if (tools.length > 0) {
    throw new Failure("input", "Tools need a dialogue, and this request is a raw prompt.", "Give messages.");
  }
  return "prompt" in input ? rawPrompt(tokenizer, input.prompt) : givenIds(tokenizer, input.promptIds);
}

function givenIds(tokenizer: Tokenizer, ids: readonly number[]): number[] {
  if (ids.length === 0) throw new Failure("input", "The prompt has no ids.");
  const wrong = ids.find((id) => !Number.isSafeInteger(id) || id < 0 || id >= tokenizer.vocabSize);
  if (wrong === undefined) return [...ids];
  throw new Failure("input", `The prompt has the id ${wrong}; this model's are 0 to ${tokenizer.vocabSize - 1}.`);
}

/** The tools that may be called: none, all, or the one that is named. */
function chosenTools({
  tools = [],
  toolChoice = "auto",
}: Pick<GenerateRequest, "tools" | "toolChoice">): readonly ToolDefinition[] {
  if (toolChoice === "none") return [];
  if (toolChoice === "auto") return tools;
  if (tools.length === 0) throw new Failure("input", "A tool call is required, and the request has no tools.");
  if (toolChoice === "required") return tools;
  const chosen = tools.filter(({ name }) => name === toolChoice.name);
  if (chosen.length === 0)
    throw new Failure("input", `The request has no tool "${toolChoice.name}", which it requires.`);
  return chosen;
}

function toolTokens(tokenizer: Tokenizer): ToolTokens {
  const id = (name: string): number => {
    const found = tokenizer.controlId(name);
    if (found !== undefined) return found;
    throw new Failure(
      "input",
      `This model's tokenizer has no ${name}, so its tool calls cannot be told from text.`,
      "Use a model with InternLM2's chat format, or ask for a JSON schema instead of a tool call.",
    );
  };
  return { start: id("<|action_start|>"), plugin: id("<|plugin|>"), end: id("<|action_end|>") };
}

function rawPrompt(tokenizer: Tokenizer, prompt: string): number[] {
  const ids = [...(tokenizer.bosId === undefined ? [] : [tokenizer.bosId]), ...tokenizer.encode(prompt)];
  if (ids.length === 0) throw new Failure("input", "The prompt is empty, and this model has no token to begin with.");
  return ids;
}

function dialogue(
  tokenizer: Tokenizer,
  messages: Extract<GenerateRequest["input"], { messages: unknown }>["messages"],
  tools: readonly ToolDefinition[],
): number[] {
  if (messages.length === 0) throw new Failure("input", "The dialogue has no messages.");
  return [...tokenizer.encodeChat(messages, { ...(tools.length > 0 && { tools }), addGenerationPrompt: true })];
}

function checkLength(promptTokens: number, maxTokens: number | undefined, contextLength: number): void {
  if (maxTokens !== undefined && (!Number.isSafeInteger(maxTokens) || maxTokens < 1)) {
    throw new Failure("input", `The request allows ${maxTokens} tokens; at least 1 is needed.`);
  }
  if (promptTokens + (maxTokens ?? 1) <= contextLength) return;
  throw new Failure(
    "input",
    maxTokens === undefined
      ? `The prompt has ${promptTokens} tokens, and this model's context is ${contextLength}.`
      : `The prompt has ${promptTokens} tokens and up to ${maxTokens} are to be written, together ${promptTokens + maxTokens}; this model's context is ${contextLength}.`,
    "Shorten the prompt or allow fewer tokens.",
    { cause: { code: contextLengthExceeded } },
  );
}
