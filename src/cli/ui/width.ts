// How many terminal columns a text takes, and cutting, padding and wrapping by that.
// Han, kana, hangul and full-width forms take two columns, combining marks none (Unicode Standard Annex 11).

// oxlint-disable-next-line no-control-regex -- the escape character is what begins a sequence
const escapeSequence = /\u001B\[[0-9;?]*[A-Za-z]/gu;
const noWidth = /^[\p{Mn}\p{Me}\p{Cf}\p{Cc}]$/u;

/** Inclusive ranges of code points that are two columns wide. */
const wideRanges: readonly (readonly [number, number])[] = [
  [0x1100, 0x115f], // hangul initials
  [0x231a, 0x231b],
  [0x2329, 0x232a],
  [0x23e9, 0x23ec],
  [0x25fd, 0x25fe],
  [0x2e80, 0x303e], // radicals, ideographic punctuation
  [0x3041, 0x33ff], // kana, bopomofo, compatibility
  [0x3400, 0x4dbf],
  [0x4e00, 0xa4cf],
  [0xa960, 0xa97f],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe10, 0xfe19],
  [0xfe30, 0xfe6f],
  [0xff00, 0xff60],
  [0xffe0, 0xffe6],
  [0x1f300, 0x1f64f],
  [0x1f680, 0x1f6ff],
  [0x1f900, 0x1f9ff],
  [0x20000, 0x3fffd],
];

/** Columns that a text takes in a terminal; colours and other escape sequences take none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text.replaceAll(escapeSequence, "")) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  const code = character.codePointAt(0)!;
  if (code < 0x7f) return code < 0x20 ? 0 : 1;
  if (noWidth.test(character)) return 0;
  return wideRanges.some(([first, last]) => code >= first && code <= last) ? 2 : 1;
}

/** The longest beginning of a text without escape sequences that fits, with "…" where it was cut. */
export function truncate(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  let kept = "";
  let width = 0;
  for (const character of text) {
    const next = width + characterWidth(character);
    if (next > columns - 1) break;
    kept += character;
    width = next;
  }
  return `${kept}…`;
}

/** Fills a text with spaces up to a width; longer texts stay as they are. */
export function pad(text: string, columns: number, side: "left" | "right" = "right"): string {
  const spaces = " ".repeat(Math.max(0, columns - displayWidth(text)));
  return side === "left" ? spaces + text : text + spaces;
}

/** Breaks at spaces so that no line is wider than `columns`; lines after the first begin with `indent`. */
export function wrap(text: string, columns: number, indent: string, firstColumns = columns): string {
  const lines: string[] = [];
  let line = "";
  let room = firstColumns;
  for (const word of text.split(" ")) {
    const joined = line === "" ? word : `${line} ${word}`;
    if (line !== "" && displayWidth(joined) > room) {
      lines.push(line);
      line = word;
      room = columns - displayWidth(indent);
    } else line = joined;
  }
  lines.push(line);
  return lines.join(`\n${indent}`);
}
