// Assignments of a Python file as data: literals, lists, dicts, dict(...) and arithmetic on what was assigned before.
// Nothing is executed; what is imported, and what else cannot be known, stays a name.
import { Failure } from "../../protocol/errors.ts";
import { readLogicalLines, type LogicalLine, type PythonToken } from "./python-tokens.ts";

const unknown = Symbol("unknown");

/** What is imported or computed: known by how it is written alone, as "torch.float16" or "PROMPT_TEMPLATE.internlm2_chat". */
export interface PythonName {
  readonly [unknown]: string;
}
export type PythonDict = { readonly [key: string]: PythonValue };
export type PythonValue = null | boolean | number | string | readonly PythonValue[] | PythonDict | PythonName;

export interface PythonFile {
  values: ReadonlyMap<string, PythonValue>;
  /** Statements that were passed over, with their lines. */
  skipped: { line: number; text: string; reason: string }[];
}

/** Largest file, and deepest nesting, that is read. */
const maxCharacters = 1 << 20;
const maxDepth = 100;

export function isName(value: PythonValue | undefined): value is PythonName {
  return typeof value === "object" && value !== null && unknown in value;
}

/** How an unknown value is written; undefined for known ones. */
export function nameOf(value: PythonValue | undefined): string | undefined {
  return isName(value) ? value[unknown] : undefined;
}

export function isDict(value: PythonValue | undefined): value is PythonDict {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isName(value);
}

const named = (text: string): PythonName => ({ [unknown]: text });

/** Throws Failure("input") for a file that is too large or no Python; a statement that is not understood is passed over. */
export function readPython(source: string, file: string): PythonFile {
  if (source.length > maxCharacters) {
    throw new Failure("input", `${file} has ${source.length} characters; at most ${maxCharacters} are read.`);
  }
  const values = new Map<string, PythonValue>();
  const skipped: PythonFile["skipped"] = [];
  const lines = readLogicalLines(source, file);
  run(0, lines.length);
  return { values, skipped };

  /** Reads the lines of a block. */
  function run(from: number, to: number): void {
    for (let index = from; index < to;) {
      const line = lines[index]!;
      const end = blockEnd(index, to);
      const [first] = line.tokens;
      if (isWord(first, "if")) {
        index = branch(index, end, to);
        continue;
      }
      if (isWord(first, "with")) run(index + 1, end);
      else if (end > index + 1) skip(line, "only assignments are read");
      else statement(line);
      index = end;
    }
  }

  function blockEnd(index: number, to: number): number {
    const { indent } = lines[index]!;
    let end = index + 1;
    while (end < to && lines[end]!.indent > indent) end++;
    return end;
  }

  /** Reads the branch of an `if` that holds; gives the line after all of its branches. */
  function branch(index: number, end: number, to: number): number {
    let taken: boolean | undefined = false;
    for (let start = index; ;) {
      const { tokens } = lines[start]!;
      const isElse = isWord(tokens[0], "else");
      const condition = isElse ? true : truth(conditionOf(lines[start]!));
      if (taken === false && condition === true) {
        run(start + 1, end);
        taken = true;
      } else if (taken !== true && condition === undefined) {
        skip(lines[start]!, "whether it holds cannot be known");
        taken = undefined;
      }
      const next = lines[end];
      if (end >= to || !(isWord(next?.tokens[0], "else") || isWord(next?.tokens[0], "elif"))) return end;
      start = end;
      end = blockEnd(start, to);
    }
  }

  function conditionOf({ tokens }: LogicalLine): PythonValue {
    const colon = tokens.at(-1);
    const inner = colon?.kind === "operator" && colon.text === ":" ? tokens.slice(1, -1) : tokens.slice(1);
    try {
      return evaluate(inner, values);
    } catch {
      return named("?");
    }
  }

  function statement(line: LogicalLine): void {
    const { tokens } = line;
    const [first, second] = tokens;
    if (isWord(first, "import") || isWord(first, "from") || isWord(first, "del") || isWord(first, "pass")) return;
    // A text alone says what the file is for.
    if (tokens.every(({ kind }) => kind === "string")) return;
    const isPlain = first?.kind === "name" && second?.kind === "operator";
    const assign = isPlain ? (/^(?:(\*\*|\/\/|[-+*/%])?=|:)$/.exec(second.text) ?? undefined) : undefined;
    if (!isPlain || assign === undefined) return skip(line, "only assignments are read");
    const annotated = second.text === ":";
    const equals = annotated ? tokens.findIndex((token) => token.kind === "operator" && token.text === "=") : 1;
    if (equals < 0) return;
    try {
      const value = evaluate(tokens.slice(equals + 1), values);
      const before = values.get(first.text);
      const operator = assign[1];
      values.set(first.text, operator === undefined ? value : combine(operator, before ?? named(first.text), value));
    } catch (error) {
      if (!(error instanceof Unread)) throw error;
      values.set(first.text, named(first.text));
      skip(line, error.message);
    }
  }

  function skip({ line, text }: LogicalLine, reason: string): void {
    skipped.push({ line, text, reason });
  }
}

/** A statement that this reader does not understand. */
class Unread extends Error {
  override readonly name = "Unread";
}

function isWord(token: PythonToken | undefined, text: string): boolean {
  return token?.kind === "name" && token.text === text;
}

/** Whether a value counts as true; undefined where that cannot be known. */
function truth(value: PythonValue): boolean | undefined {
  if (isName(value)) return undefined;
  if (Array.isArray(value)) return value.length > 0;
  return isDict(value) ? Object.keys(value).length > 0 : Boolean(value);
}

/** How tightly binary operators bind. */
const bindings: Readonly<Record<string, number>> = {
  or: 1,
  and: 2,
  in: 3,
  is: 3,
  "<": 3,
  ">": 3,
  "<=": 3,
  ">=": 3,
  "==": 3,
  "!=": 3,
  "|": 4,
  "&": 4,
  "+": 5,
  "-": 5,
  "*": 6,
  "/": 6,
  "//": 6,
  "%": 6,
  "**": 8,
};

function evaluate(tokens: readonly PythonToken[], values: ReadonlyMap<string, PythonValue>): PythonValue {
  let at = 0;
  let depth = 0;
  const peek = (): PythonToken | undefined => tokens[at];
  const isOperator = (text: string): boolean => {
    const token = peek();
    return token?.kind === "operator" && token.text === text;
  };
  const take = (text: string): boolean => {
    if (!isOperator(text)) return false;
    at++;
    return true;
  };
  const expect = (text: string): void => {
    if (!take(text)) throw new Unread(`"${text}" was expected`);
  };

  const value = list();
  if (at < tokens.length) throw new Unread("it is more than literals, calls of dict and arithmetic");
  return value;

  /** Values with commas between them are a tuple. */
  function list(): PythonValue {
    const first = conditional();
    if (!isOperator(",")) return first;
    const items = [first];
    while (take(",")) if (at < tokens.length) items.push(conditional());
    return items;
  }

  function conditional(): PythonValue {
    if (++depth > maxDepth) throw new Unread("it is nested too deeply");
    const held = binary(0);
    let result = held;
    if (isWord(peek(), "if")) {
      at++;
      const condition = truth(binary(0));
      if (!isWord(peek(), "else")) throw new Unread("an if without an else");
      at++;
      const otherwise = conditional();
      result = condition === undefined ? named("?") : condition ? held : otherwise;
    }
    depth--;
    return result;
  }

  function binary(least: number): PythonValue {
    let left = unary();
    for (;;) {
      const token = peek();
      const operator = token?.kind === "operator" || token?.kind === "name" ? token.text : "";
      const binding = Object.hasOwn(bindings, operator) ? bindings[operator]! : 0;
      if (binding === 0 || binding <= least) return left;
      at++;
      const isNot = operator === "is" && isWord(peek(), "not");
      if (isNot) at++;
      // Powers bind to the right.
      left = combine(isNot ? "!=" : operator, left, binary(operator === "**" ? binding - 1 : binding));
    }
  }

  function unary(): PythonValue {
    if (take("-")) {
      const operand = unary();
      return typeof operand === "number" ? -operand : named("?");
    }
    if (take("+")) return unary();
    if (isWord(peek(), "not")) {
      at++;
      const operand = truth(binary(2));
      return operand === undefined ? named("?") : !operand;
    }
    if (isWord(peek(), "lambda")) throw new Unread("a function is not read");
    return postfix(primary());
  }

  function primary(): PythonValue {
    const token = tokens[at++];
    if (token === undefined) throw new Unread("a value was expected");
    switch (token.kind) {
      case "number":
        return token.value;
      case "string": {
        let text = token.value;
        let isFormatted = token.formatted;
        for (let next = peek(); next?.kind === "string"; next = peek()) {
          text += next.value;
          isFormatted ||= next.formatted;
          at++;
        }
        return isFormatted && /[{}]/.test(text) ? named(text) : text;
      }
      case "name":
        return word(token.text);
      case "operator":
        return bracket(token.text);
      default:
        return token satisfies never;
    }
  }

  function word(text: string): PythonValue {
    if (text === "None") return null;
    if (text === "True") return true;
    if (text === "False") return false;
    if (text === "dict" && isOperator("(")) {
      at++;
      return callArguments().byName;
    }
    return values.has(text) ? values.get(text)! : named(text);
  }

  function bracket(text: string): PythonValue {
    if (text === "(") {
      const items: PythonValue[] = [];
      let isTuple = false;
      while (!isOperator(")")) {
        items.push(conditional());
        refuseLoop();
        if (!take(",")) break;
        isTuple = true;
      }
      expect(")");
      return isTuple || items.length !== 1 ? items : items[0]!;
    }
    if (text === "[") {
      const items: PythonValue[] = [];
      while (!isOperator("]")) {
        if (take("*")) {
          const spread = conditional();
          if (!Array.isArray(spread)) throw new Unread("what is spread into a list is not known");
          items.push(...(spread as readonly PythonValue[]));
        } else items.push(conditional());
        refuseLoop();
        if (!take(",")) break;
      }
      expect("]");
      return items;
    }
    if (text === "{") return braces();
    throw new Unread(`"${text}" is not expected`);
  }

  function braces(): PythonValue {
    const dict: Record<string, PythonValue> = Object.create(null) as Record<string, PythonValue>;
    while (!isOperator("}")) {
      if (take("**")) Object.assign(dict, dictOf(conditional()));
      else {
        const key = conditional();
        expect(":");
        dict[typeof key === "string" ? key : String(nameOf(key) ?? JSON.stringify(key))] = conditional();
        refuseLoop();
      }
      if (!take(",")) break;
    }
    expect("}");
    return dict;
  }

  function refuseLoop(): void {
    if (isWord(peek(), "for")) throw new Unread("a loop within brackets is not read");
  }

  function postfix(start: PythonValue): PythonValue {
    let left = start;
    for (;;) {
      if (take(".")) {
        const token = tokens[at++];
        if (token?.kind !== "name") throw new Unread("a name was expected");
        // Attributes of what is known (methods of texts) are not.
        left = named(`${nameOf(left) ?? "?"}.${token.text}`);
      } else if (take("(")) {
        const { byName } = callArguments();
        const name = nameOf(left) ?? "?";
        // A configuration object made by a call is read as the dict that says the same.
        left = Object.keys(byName).length > 0 ? makeDict({ type: named(name), ...byName }) : named(`${name}()`);
      } else if (take("[")) {
        const key = conditional();
        expect("]");
        const found =
          isDict(left) && typeof key === "string"
            ? left[key]
            : Array.isArray(left) && typeof key === "number"
              ? (left as readonly PythonValue[]).at(key)
              : undefined;
        left = found ?? named("?");
      } else return left;
    }
  }

  function callArguments(): { byName: PythonDict } {
    const byName: Record<string, PythonValue> = Object.create(null) as Record<string, PythonValue>;
    while (!isOperator(")")) {
      const [token, next] = [tokens[at], tokens[at + 1]];
      if (take("**")) Object.assign(byName, dictOf(conditional()));
      else if (token?.kind === "name" && next?.kind === "operator" && next.text === "=") {
        at += 2;
        byName[token.text] = conditional();
      } else {
        conditional();
        refuseLoop();
      }
      if (!take(",")) break;
    }
    expect(")");
    return { byName };
  }

  function dictOf(spread: PythonValue): PythonDict {
    if (!isDict(spread)) throw new Unread("what is spread into a dict is not known");
    return spread;
  }
}

function makeDict(entries: Record<string, PythonValue>): PythonDict {
  return Object.assign(Object.create(null) as Record<string, PythonValue>, entries);
}

/** What an operator gives; a name where that cannot be known. */
function combine(operator: string, left: PythonValue, right: PythonValue): PythonValue {
  if (operator === "and") return truth(left) === undefined ? named("?") : truth(left) ? right : left;
  if (operator === "or") return truth(left) === undefined ? named("?") : truth(left) ? left : right;
  if (operator === "+" && Array.isArray(left) && Array.isArray(right))
    return [...(left as readonly PythonValue[]), ...(right as readonly PythonValue[])];
  if (operator === "+" && typeof left === "string" && typeof right === "string") return left + right;
  if (operator === "==" || operator === "!=" || operator === "is") {
    const isKnown = [left, right].every((each) => each === null || typeof each !== "object");
    return isKnown ? (left === right) === (operator !== "!=") : named("?");
  }
  if (typeof left !== "number" || typeof right !== "number") return named("?");
  switch (operator) {
    case "+":
      return left + right;
    case "-":
      return left - right;
    case "*":
      return left * right;
    case "/":
      return left / right;
    case "//":
      return Math.floor(left / right);
    case "%":
      return left - right * Math.floor(left / right);
    case "**":
      return left ** right;
    case "<":
      return left < right;
    case ">":
      return left > right;
    case "<=":
      return left <= right;
    case ">=":
      return left >= right;
    default:
      return named("?");
  }
}
