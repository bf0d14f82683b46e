// From a request to what a sequence needs: prompt ids, limits, sampling and a guide; whatever cannot be honoured is
// refused here, before anything is computed.
import { hash } from "node:crypto";
import {
  Failure,
  type GenerateRequest,
  type Message,
  type ResponseFormat,
  type ToolDefinition,
} from "../protocol/index.ts";
import { callFormat, withPlainTools, type CallFormat, type Tokenizer } from "../tokenizer/index.ts";
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
} from "./grammar/index.ts";
import { constrainedGuide, freeGuide, type Guide } from "./guide.ts";
import type { PenaltyOptions } from "./penalties.ts";
import type { SamplingOptions } from "./sampler.ts";
import { checkNumbers, penaltiesOf, samplingOf } from "./sampling.ts";

/** What `cause.code` of a failure says when a prompt does not fit, for callers that must tell it apart. */
export const contextLengthExceeded = "context_length_exceeded";

/** Constraints are kept for this many forms, and while they are no larger than this together. */
const maxKeptConstraints = 32;
const maxKeptSize = 40_000;

export interface Prepared {
  promptIds: number[];
  maxTokens: number;
  sampling: SamplingOptions;
  penalties: PenaltyOptions;
  /** Alternatives wanted beside each token's log-probability; undefined where none are reported. */
  logprobs: number | undefined;
  stop: readonly string[];
  guide: Guide;
  /** How tool calls are written; undefined where none can come. */
  calls: { format: CallFormat; atStart: boolean } | undefined;
  continuing: boolean;
  adapter: string | undefined;
  priority: number;
}

export type Prepare = (request: GenerateRequest) => Prepared;

/**
 * Prepares the requests of one model. Throws Failure("input") that says what is wrong with a request.
 * An answer without a limit may grow until the sequence has `usualLength` tokens, or `contextLength` where the prompt alone
 * is longer than that.
 */
export function createPreparer(tokenizer: Tokenizer, contextLength: number, usualLength = contextLength): Prepare {
  const constraints = new Map<string, Constraint>();

  function constraintOf(key: string, grammar: () => Grammar): Constraint {
    let constraint = constraints.get(key);
    constraints.delete(key);
    constraint ??= createConstraint(grammar(), tokenizer);
    constraints.set(key, constraint);
    let size = [...constraints.values()].reduce((sum, each) => sum + each.size(), 0);
    for (const [oldest, each] of constraints) {
      if (oldest === key || (constraints.size <= maxKeptConstraints && size <= maxKeptSize)) break;
      constraints.delete(oldest);
      size -= each.size();
    }
    return constraint;
  }

  function guideOf(request: GenerateRequest, tools: readonly ToolDefinition[], format: CallFormat | undefined): Guide {
    const { responseFormat = { type: "text" }, minTokens = 0, ignoreEos = false } = request;
    const ruled = format !== undefined || responseFormat.type !== "text";
    if (ruled && (minTokens > 0 || ignoreEos)) {
      throw new Failure(
        "input",
        `The request sets ${ignoreEos ? "ignoreEos" : "minTokens"} beside tools or a response format, which say where the answer ends.`,
        "Leave out one of the two.",
      );
    }
    if (!ruled) return freeGuide(tokenizer, { minTokens, ignoreEos });
    const { toolChoice = "auto", parallelToolCalls = true } = request;
    const required = format !== undefined && toolChoice !== "auto";
    const options = { required, parallel: parallelToolCalls && typeof toolChoice === "string" };
    // Forms may be long, and keys are kept.
    const key = hash("sha256", JSON.stringify([responseFormat, tools, format, options]), "base64");
    const constraint = constraintOf(key, () => {
      const instead = responseFormat.type === "text" ? undefined : formatGrammar(responseFormat);
      return format ? toolCallGrammar(tools, format, { ...options, instead }) : instead!;
    });
    return constrainedGuide(constraint, format && !required && responseFormat.type === "text" ? 0 : 1);
  }

  function prepare(request: GenerateRequest): Prepared {
    const { input, stop = [] } = request;
    checkNumbers(request);
    const tools = chosenTools(request);
    const { ids: promptIds, format: dialectFormat } = readInput(tokenizer, request);
    const formatted = (request.responseFormat?.type ?? "text") !== "text";
    const format = dialectFormat && formatted ? markedFormat(dialectFormat) : dialectFormat;
    const length = promptIds.length < usualLength ? usualLength : contextLength;
    const maxTokens = request.maxTokens ?? length - promptIds.length;
    checkLength(promptIds.length, request.maxTokens, contextLength);
    if ((request.minTokens ?? 0) > maxTokens) {
      throw new Failure("input", `The request has minTokens of ${request.minTokens}, and ${maxTokens} are allowed.`);
    }
    const guide = guideOf(request, tools, format);
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
      calls: format && { format, atStart: formatted },
      continuing: guide.tokensNeeded > 0 || ("prompt" in input && input.prompt !== "") || "promptIds" in input,
      adapter: request.adapter,
      priority: request.priority ?? 0,
    };
  }
  return (request) => withinStack(() => prepare(request));
}

/** A stack that is too small for what a request asks for is the request's fault. */
function withinStack<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError && error.message.includes("call stack"))) throw error;
    throw new Failure("input", "What the request asks for is nested too deeply.", "Give something simpler.", {
      cause: error,
    });
  }
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
  return readInput(tokenizer, request).ids;
}

/** The prompt, and how the model will write its tool calls, where it may make any. */
function readInput(
  tokenizer: Tokenizer,
  request: Pick<GenerateRequest, "input" | "tools" | "toolChoice" | "templateOptions">,
): { ids: number[]; format: CallFormat | undefined } {
  const { input } = request;
  const tools = chosenTools(request);
  if ("messages" in input) return dialogue(tokenizer, input.messages, tools, request.templateOptions);
  if (tools.length > 0) {
    throw new Failure("input", "Tools need a dialogue, and this request is a raw prompt.", "Give messages.");
  }
  const ids = "prompt" in input ? rawPrompt(tokenizer, input.prompt) : givenIds(tokenizer, input.promptIds);
  return { ids, format: undefined };
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
  const twice = tools.find(({ name }, index) => tools.findIndex((other) => other.name === name) < index);
  if (twice) throw new Failure("input", `The request has two tools "${twice.name}".`, "Give each a name of its own.");
  if (toolChoice === "auto") return tools;
  if (tools.length === 0) throw new Failure("input", "A tool call is required, and the request has no tools.");
  if (toolChoice === "required") return tools;
  const chosen = tools.filter(({ name }) => name === toolChoice.name);
  if (chosen.length === 0)
    throw new Failure("input", `The request has no tool "${toolChoice.name}", which it requires.`);
  return chosen;
}

/** Calls that can be told from an answer in a form of its own by what they begin with. */
function markedFormat(format: CallFormat): CallFormat {
  if (!format.bare) return format;
  if (format.bareTag !== undefined) return { ...format, bare: false, opening: format.bareTag };
  throw new Failure(
    "input",
    "A response format and tools were asked for together, and this model's calls have no mark that tells them from text.",
    "Ask for one of them, or set the tool choice to none.",
  );
}

function rawPrompt(tokenizer: Tokenizer, prompt: string): number[] {
  const ids = [...(tokenizer.bosId === undefined ? [] : [tokenizer.bosId]), ...tokenizer.encode(prompt)];
  if (ids.length === 0) throw new Failure("input", "The prompt is empty, and this model has no token to begin with.");
  return ids;
}

function dialogue(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  tools: readonly ToolDefinition[],
  templateOptions: GenerateRequest["templateOptions"],
): { ids: number[]; format: CallFormat | undefined } {
  if (messages.length === 0) throw new Failure("input", "The dialogue has no messages.");
  const options = { addGenerationPrompt: true, ...(templateOptions && { templateOptions }) };
  const encode = (each: readonly Message[], given?: readonly ToolDefinition[]): number[] => [
    ...tokenizer.encodeChat(each, given ? { ...options, tools: given } : options),
  ];
  if (tools.length === 0) return { ids: encode(messages), format: undefined };
  if (tokenizer.chatDialect !== "plain") {
    const format = callFormat(tokenizer, tokenizer.chatDialect);
    const ids = encode(messages, tools);
    // A template that knows no tools gives the same dialogue without them.
    if (format && ids.join() !== encode(messages).join()) return { ids, format };
  }
  return { ids: encode(withPlainTools(messages, tools)), format: callFormat(tokenizer, "plain") };
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
