// Grammars of what a request can ask for besides a JSON schema: a regular expression, a choice, and a call of a tool.
import { Failure, type ToolDefinition } from "../../protocol/index.ts";
import { choice, control, literal, sequence, type Expression, type Grammar } from "./expression.ts";
import { colon, comma, jsonRules } from "./json.ts";
import { regex } from "./regex.ts";
import { addSchema } from "./schema.ts";
import { utf8 } from "./unicode.ts";

/** A text that the pattern matches as a whole. */
export function regexGrammar(pattern: string): Grammar {
  return { start: regex(pattern, { spell: utf8, match: "full" }), rules: new Map() };
}

/** Choices beyond this count are refused. */
const maxChoices = 10_000;

/** One of some texts. Throws Failure("input") where there are none, or one is empty. */
export function choiceGrammar(choices: readonly string[]): Grammar {
  if (choices.length === 0) throw new Failure("input", "A choice was asked for, and there is nothing to choose from.");
  if (choices.length > maxChoices) {
    throw new Failure("input", `A choice of ${choices.length} texts is over the limit of ${maxChoices}.`);
  }
  if (choices.includes("")) throw new Failure("input", "One of the texts to choose from is empty.", "Leave it out.");
  return { start: choice(...choices.map(literal)), rules: new Map() };
}

/** Ids of the control tokens around a call. */
export interface ToolTokens {
  start: number;
  plugin: number;
  end: number;
}

/**
 * One call of one of the tools, in InternLM2's format:
 * `<|action_start|><|plugin|>\n{"name": "...", "parameters": {...}}<|action_end|>`.
 */
export function toolCallGrammar(tools: readonly ToolDefinition[], tokens: ToolTokens): Grammar {
  const rules = new Map<string, Expression>(jsonRules);
  const calls = tools.map(({ name, parameters }) => {
    let value;
    try {
      const schema = parameters.type === undefined ? { type: "object", ...parameters } : parameters;
      if (schema.type !== "object")
        throw new Failure("input", `its type is ${JSON.stringify(schema.type)}, not "object".`);
      value = addSchema(rules, schema, `${name} `);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new Failure("input", `The parameters of tool "${name}": ${error.message}`, error.hint, { cause: error });
    }
    return sequence(literal(JSON.stringify(name)), comma, literal('"parameters"'), colon, value);
  });
  return {
    start: sequence(
      control(tokens.start),
      control(tokens.plugin),
      literal('\n{"name"'),
      colon,
      choice(...calls),
      literal("}"),
      control(tokens.end),
    ),
    rules,
  };
}
