// Calls of tools as a grammar, in the dialect of the model: each names one of the tools, with arguments of its schema.
import { Failure, type ToolDefinition } from "../../protocol/index.ts";
import { bareOpenings, type CallFormat } from "../../tokenizer/index.ts";
import {
  choice,
  control,
  empty,
  literal,
  oneOf,
  repeat,
  sequence,
  type Expression,
  type Grammar,
} from "./expression.ts";
import { freeText, type Opening } from "./free-text.ts";
import { colon, comma, jsonRules } from "./json.ts";
import { addSchema } from "./schema.ts";
import { createBudget } from "./schema-budget.ts";

/** Calls of one answer. A model that was taught no calls may not find an end by itself. */
const maxCalls = 16;

export interface ToolCallOptions {
  /** Whether there must be a call; otherwise any text may come before one, or be all. */
  required: boolean;
  /** Whether more than one call may be made. */
  parallel: boolean;
  /** What the answer must be where no call is made; undefined for any text. */
  instead?: Grammar | undefined;
}

/** Throws Failure("input") that names the tool whose parameters cannot be guaranteed. */
export function toolCallGrammar(
  tools: readonly ToolDefinition[],
  format: CallFormat,
  { required, parallel, instead }: ToolCallOptions,
): Grammar {
  const rules = new Map<string, Expression>([...jsonRules, ...(instead?.rules ?? [])]);
  const { opening, afterOpening, closing, inner, separator, argumentsKey, bare, bareTag } = format;
  const mark = (of: number | string | undefined): Expression =>
    of === undefined ? empty : typeof of === "number" ? control(of) : literal(of);

  const budget = createBudget();
  const calls = tools.map(({ name, parameters }) => {
    let value;
    try {
      const schema = parameters.type === undefined ? { type: "object", ...parameters } : parameters;
      if (schema.type !== "object")
        throw new Failure("input", `its type is ${JSON.stringify(schema.type)}, not "object".`);
      value = addSchema(rules, schema, budget);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new Failure("input", `The parameters of tool "${name}": ${error.message}`, error.hint, { cause: error });
    }
    // From within the quotes of the name on.
    return sequence(literal(`${name}"`), comma, literal(`"${argumentsKey}"`), colon, value, literal("}"));
  });
  rules.set("call rest", choice(...calls));
  const callRest: Expression = { type: "rule", name: "call rest" };
  const object = bare
    ? sequence(oneOf(bareOpenings), callRest)
    : sequence(literal('{"name"'), colon, literal('"'), callRest);
  /** After the opening mark. */
  const rest = sequence(
    mark(afterOpening),
    // InternLM2 ends the line of its plugin token.
    afterOpening === undefined ? empty : literal("\n"),
    literal(inner),
    object,
    literal(inner),
    mark(closing),
  );
  const call = sequence(mark(opening), rest);
  rules.set("next call", sequence(literal(separator), call));
  const more = parallel ? repeat({ type: "rule", name: "next call" }, 0, maxCalls - 1) : empty;
  if (required) return { start: sequence(call, more), rules };
  if (instead) return { start: choice(instead.start, sequence(call, more)), rules };
  const openings: Opening[] = [];
  if (opening !== undefined) openings.push({ mark: opening, anchored: false, after: sequence(rest, more) });
  if (bare) {
    openings.push(
      ...bareOpenings.map((each) => ({ mark: each, anchored: true, after: sequence(callRest, more) })),
      ...(bareTag === undefined ? [] : [{ mark: bareTag, anchored: true, after: sequence(call, more) }]),
    );
  }
  return { start: freeText(rules, openings, "free "), rules };
}
