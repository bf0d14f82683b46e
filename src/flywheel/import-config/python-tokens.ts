// The words of a Python file, line by logical line: what a small reader of assignments needs, and no more.
import { Failure } from "../../protocol/errors.ts";

export type PythonToken =
  | { kind: "name"; text: string }
  | { kind: "number"; value: number }
  | { kind: "string"; value: string; formatted: boolean }
  | { kind: "operator"; text: string };

/** A statement's words: a line, or several that brackets or backslashes join. */
export interface LogicalLine {
  /** From 1. */
  line: number;
  indent: number;
  tokens: PythonToken[];
  /** The text of the first line. */
  text: string;
}

const operators = /\*\*=|\/\/=|>>=|<<=|\*\*|\/\/|>>|<<|->|:=|[-+*/%&|^@<>=!]=|[-+*/%&|^~@<>=()[\]{},:;.]/y;
const number = /0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d[\d_]*)?/y;
const word = /[\p{L}_][\p{L}\p{N}_]*/uy;
const stringStart = /([rbuf]{0,2})("""|'''|"|')/iy;
const escapes: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "0": "\0",
};

/** Throws Failure("input") where a string or a bracket does not end. */
export function readLogicalLines(source: string, file: string): LogicalLine[] {
  const lines: LogicalLine[] = [];
  let at = 0;
  let line = 1;
  let depth = 0;
  let current: LogicalLine | undefined;
  const fail = (reason: string): never => {
    throw new Failure("input", `${file}, line ${line}: ${reason}.`, "It is no Python file, or it is cut.");
  };
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(source);
  };
  const finish = (): void => {
    if (current !== undefined && current.tokens.length > 0) lines.push(current);
    current = undefined;
  };
  let lineStart = 0;
  while (at < source.length) {
    const character = source[at]!;
    if (character === "\n") {
      at++;
      line++;
      lineStart = at;
      if (depth === 0) finish();
      continue;
    }
    if (character === "\\" && /^\\\r?\n/.test(source.slice(at, at + 3))) {
      at = source.indexOf("\n", at) + 1;
      line++;
      lineStart = at;
      continue;
    }
    if (/[ \t\r\f\ufeff]/.test(character)) {
      at++;
      continue;
    }
    if (character === "#") {
      const end = source.indexOf("\n", at);
      at = end < 0 ? source.length : end;
      continue;
    }
    current ??= {
      line,
      // After a semicolon a statement belongs to the block of the one before.
      indent: lines.at(-1)?.line === line ? lines.at(-1)!.indent : at - lineStart,
      tokens: [],
      text: source.slice(lineStart, (source.indexOf("\n", at) + 1 || source.length + 1) - 1).trim(),
    };
    const quote = match(stringStart);
    if (quote) {
      const prefix = quote[1]!.toLowerCase();
      const end = endOfString(source, at + quote[0].length, quote[2]!, prefix.includes("r"));
      if (end < 0) fail("a string does not end");
      const inside = source.slice(at + quote[0].length, end);
      line += inside.split("\n").length - 1;
      at = end + quote[2]!.length;
      const value = prefix.includes("r") ? inside : unescape(inside);
      current.tokens.push({ kind: "string", value, formatted: prefix.includes("f") });
      continue;
    }
    const found = match(word);
    if (found) {
      current.tokens.push({ kind: "name", text: found[0] });
      at += found[0].length;
      continue;
    }
    const digits = match(number);
    if (digits && digits[0] !== "") {
      current.tokens.push({ kind: "number", value: Number(digits[0].replaceAll("_", "")) });
      at += digits[0].length;
      continue;
    }
    const operator = match(operators) ?? fail(`${JSON.stringify(character)} is not expected`);
    if ("([{".includes(operator[0])) depth++;
    if (")]}".includes(operator[0])) depth--;
    if (operator[0] === ";" && depth === 0) finish();
    else current.tokens.push({ kind: "operator", text: operator[0] });
    at += operator[0].length;
  }
  if (depth > 0) fail("a bracket does not end");
  finish();
  return lines;
}

function endOfString(source: string, from: number, quote: string, isRaw: boolean): number {
  for (let at = from; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source.startsWith(quote, at)) return at;
    else if (source[at] === "\n" && quote.length === 1 && !isRaw) return -1;
  }
  return -1;
}

function unescape(text: string): string {
  return text.replaceAll(
    /\\(?:\r?\n|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/gs,
    (whole, byte?: string, short?: string, long?: string, other?: string) => {
      const code = byte ?? short ?? long;
      if (code !== undefined) {
        const point = parseInt(code, 16);
        return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
      }
      return other === undefined ? "" : (escapes[other] ?? whole);
    },
  );
}
