// One spelling for what means the same: Unicode NFC, line ends, spaces, invisible characters, full-width letters.
// Changes no words; the script (simplified or traditional) is changed on request alone.
import type { Document, RawDocument } from "./document.ts";

export const scriptOptions = ["keep", "simplified", "traditional"] as const;
export type ScriptOption = (typeof scriptOptions)[number];

const LINE_ENDS = /\r\n?|[\v\f\u0085\u2028\u2029]/g;
/** Controls, soft hyphen, zero-width and direction marks, byte order mark. Joiners stay: Indic and Arabic need them. */
const INVISIBLE =
  // oxlint-disable-next-line no-control-regex -- they are what is removed
  /[\u0000-\u0008\u000E-\u001F\u007F-\u009F\u00AD\u200B\u200E\u200F\u202A-\u202E\u2060-\u2064\u2066-\u206F\uFEFF\uFFF9-\uFFFB]/g;
const SPACES = /[\t \u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]+/g;
/** Full-width digits and Latin letters; full-width punctuation is right in Chinese and stays. */
const FULL_WIDTH = /[\uFF10-\uFF19\uFF21-\uFF3A\uFF41-\uFF5A]/g;

/** At most one blank line between paragraphs, no spaces at line ends. Idempotent. */
export function normaliseText(text: string): string {
  return text
    .normalize("NFC")
    .replace(LINE_ENDS, "\n")
    .replace(INVISIBLE, "")
    .replace(FULL_WIDTH, (character) => String.fromCharCode(character.charCodeAt(0) - 0xfee0))
    .replace(SPACES, " ")
    .replace(/ ?\n ?/g, "\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

const normaliseLine = (text: string): string => normaliseText(text).replace(/\n+/g, " ");

/** Returns the conversion of characters that an option asks for. */
export async function scriptConverter(script: ScriptOption): Promise<(text: string) => string> {
  switch (script) {
    case "keep":
      return (text) => text;
    case "simplified":
      return (await import("opencc-js/t2cn")).Converter({ from: "t", to: "cn" });
    case "traditional":
      return (await import("opencc-js/cn2t")).Converter({ from: "cn", to: "t" });
    default:
      return script satisfies never;
  }
}

/**
 * Makes the document of a raw one: its parts normalised and converted, its text put together.
 * Tones are left out where normalisation changed the length of a line, since they no longer fit.
 */
export function composeDocument(raw: RawDocument, source: string, convert: (text: string) => string): Document {
  const { title: rawTitle, author: rawAuthor, ...rest } = raw.meta;
  const title = rawTitle === undefined ? undefined : convert(normaliseLine(rawTitle));
  const author = rawAuthor === undefined ? undefined : convert(normaliseLine(rawAuthor));
  const meta = { source, ...(title ? { title } : {}), ...(author ? { author } : {}), ...rest };
  if ("text" in raw.content) return { id: raw.id, text: convert(normaliseText(raw.content.text)), meta };

  const { tones } = raw.content;
  // Converted as one text, so that phrases are seen whole and one call does.
  const lines = convert(raw.content.lines.map(normaliseLine).join("\n")).split("\n");
  const kept = lines.filter((line) => line !== "");
  const fits =
    tones !== undefined &&
    kept.length === tones.length &&
    kept.every((line, index) => characterCount(line) === characterCount(tones[index]!));
  const text = kept.length === 0 ? "" : [title, author, ...kept].filter(Boolean).join("\n");
  return { id: raw.id, text, meta: { ...meta, lines: kept, ...(fits ? { tones: [...tones] } : {}) } };
}

function characterCount(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
