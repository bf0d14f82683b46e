// The normalizers of tokenizer.json: what is done to a text before it is cut. Each is read from its component.
import { createCharsmap } from "./charsmap.ts";
import type { Normalization } from "./data.ts";
import { alternation } from "./data.ts";
import { translatePattern } from "./pre-tokenizer.ts";
import { type Component, patternSchema, readParts, type Unsupported } from "./tokenizer-json-schema.ts";

/** The text is well-formed. */
export type Normalizer = (text: string) => string;

/** Throws what `unsupported` makes for a kind that is not known. `origin` names the file. */
export function readNormalizer(component: Component | undefined, unsupported: Unsupported, origin: string): Normalizer {
  if (component === undefined) return (text) => text;
  const { type } = component;
  switch (type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => text.normalize(type);
    case "Lowercase":
      // Character by character: no rule that looks at neighbours, such as Greek's last sigma.
      return (text) => (/^\p{ASCII}*$/u.test(text) ? text.toLowerCase() : Array.from(text, lower).join(""));
    case "StripAccents":
      return (text) => text.replace(/\p{M}/gu, "");
    case "Strip":
      return (text) => {
        const left = component["strip_left"] === false ? text : text.replace(/^\p{White_Space}+/u, "");
        return component["strip_right"] === false ? left : trimEnd(left);
      };
    case "Prepend": {
      const prefix = String(component["prepend"] ?? "");
      return (text) => (text === "" ? "" : prefix + text);
    }
    case "Replace": {
      const pattern = readPattern(component["pattern"], unsupported);
      const content = String(component["content"] ?? "");
      return (text) => text.replace(pattern, () => content);
    }
    case "Precompiled":
      return precompiled(Buffer.from(String(component["precompiled_charsmap"] ?? ""), "base64"), origin);
    case "Sequence": {
      const steps = readParts(component["normalizers"], unsupported).map((part) =>
        readNormalizer(part, unsupported, origin),
      );
      return (text) => steps.reduce((normal, step) => step(normal), text);
    }
    default:
      throw unsupported(`a normalizer of type "${type}"`);
  }
}

/** The Unicode normal forms where there is nothing else; undefined otherwise. */
export function normalFormsOf(component: Component | undefined, unsupported: Unsupported): Normalization[] | undefined {
  if (component === undefined) return [];
  switch (component.type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return [component.type];
    case "Sequence": {
      const parts = readParts(component["normalizers"], unsupported).map((part) => normalFormsOf(part, unsupported));
      return parts.includes(undefined) ? undefined : (parts as Normalization[][]).flat();
    }
    default:
      return undefined;
  }
}

const lower = (character: string) => character.toLowerCase();

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--;
  return text.slice(0, end);
}

/** A pattern that is a text or a regular expression, for replacing all its matches. */
function readPattern(value: unknown, unsupported: Unsupported): RegExp {
  const parsed = patternSchema.safeParse(value);
  if (!parsed.success) throw unsupported("a Replace without a pattern");
  const source = "String" in parsed.data ? alternation([parsed.data.String])! : translatePattern(parsed.data.Regex);
  try {
    return new RegExp(source, "gu");
  } catch (error) {
    throw unsupported(`the pattern ${JSON.stringify(parsed.data)} (${(error as Error).message})`);
  }
}

/** A character of at most so many bytes is looked up whole, a longer one part by part: the rule of the format's users. */
const LONGEST_WHOLE = 5;

/** SentencePiece's table as Hugging Face applies it: user-perceived characters, the shortest key. */
function precompiled(table: Uint8Array, origin: string): Normalizer {
  if (table.length === 0) return (text) => text;
  const charsmap = createCharsmap(table, origin);
  const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
  const known = new Map<string, string>();
  const convert = (grapheme: string): string => {
    let result = known.get(grapheme);
    if (result !== undefined) return result;
    result = Buffer.byteLength(grapheme) <= LONGEST_WHOLE ? charsmap.replacementOf(grapheme) : undefined;
    result ??= Array.from(grapheme, (character) => charsmap.replacementOf(character) ?? character).join("");
    if (known.size < 65536) known.set(grapheme, result);
    return result;
  };
  const segments = (text: string) => Array.from(segmenter.segment(text), ({ segment }) => convert(segment)).join("");
  // Between two printable ASCII characters there is always a boundary, so only the rest needs the segmenter.
  const others = /[ -~]?[^ -~]+(?:[ -~][^ -~]+)*[ -~]?/g;
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));
  const keepsPlain = printable.every((character) => convert(character) === character);
  return (text) => {
    let result = "";
    let position = 0;
    const plain = (stretch: string) => {
      if (keepsPlain) result += stretch;
      else for (const character of stretch) result += convert(character);
    };
    for (const match of text.matchAll(others)) {
      plain(text.slice(position, match.index));
      result += segments(match[0]);
      position = match.index + match[0].length;
    }
    plain(text.slice(position));
    return result;
  };
}
