// The compiled replacement tables of SentencePiece's normalizers (nmt_nfkc and its kin): a double-array trie over UTF-8
// whose values point into a list of texts. Source of the layout: darts-clone, as SentencePiece embeds it.
import { Failure } from "../protocol/errors.ts";
import { fromUtf8, toUtf8 } from "./data.ts";

export interface Charsmap {
  /** Every longest match replaced, from left to right: SentencePiece's own rule. */
  replaceLongest(text: string): string;
  /** What the shortest key that begins a text is replaced by; undefined where none does. */
  replacementOf(text: string): string | undefined;
}

/** `origin` names the file in errors. Throws Failure("input") for a table that is cut short. */
export function createCharsmap(table: Uint8Array, origin: string): Charsmap {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const trieBytes = table.length < 4 ? 0 : view.getUint32(0, true);
  if (table.length < 4 || trieBytes % 4 !== 0 || trieBytes < 4 || trieBytes > table.length - 4) {
    throw new Failure(
      "input",
      `${origin}: the normalizer's table of ${table.length} bytes is broken.`,
      "Get it again.",
    );
  }
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
  const texts = table.subarray(4 + trieBytes);

  const offsetOf = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);
  const root = offsetOf(units[0]!);
  /** Set by search: bytes of the key that was found, and where its replacement begins. */
  let keyBytes = 0;
  let textBegin = 0;

  /** Looks for keys at a place in the bytes: the longest, or the shortest. */
  function search(bytes: Uint8Array, begin: number, longest: boolean): boolean {
    let node = root;
    keyBytes = 0;
    for (let index = begin; index < bytes.length; index++) {
      const byte = bytes[index]!;
      node ^= byte;
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) !== byte) break;
      node ^= offsetOf(unit);
      if ((unit & 0x100) === 0) continue;
      keyBytes = index + 1 - begin;
      textBegin = (units[node] ?? 0) & 0x7fffffff;
      if (!longest) break;
    }
    return keyBytes > 0;
  }

  function replacement(): Uint8Array {
    let end = textBegin;
    while (end < texts.length && texts[end] !== 0) end++;
    return texts.subarray(textBegin, end);
  }

  return {
    replaceLongest(text) {
      const bytes = toUtf8(text);
      const parts: Uint8Array[] = [];
      let copied = 0;
      let position = 0;
      while (position < bytes.length) {
        if (search(bytes, position, true)) {
          parts.push(bytes.subarray(copied, position), replacement());
          position += keyBytes;
          copied = position;
        } else {
          const lead = bytes[position]!;
          position += lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        }
      }
      if (parts.length === 0) return text.toWellFormed();
      parts.push(bytes.subarray(copied));
      return fromUtf8(Buffer.concat(parts));
    },
    replacementOf: (text) => (search(toUtf8(text), 0, false) ? fromUtf8(replacement()) : undefined),
  };
}
