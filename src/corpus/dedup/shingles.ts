// A text as the set of its n-grams, hashed: words where a script puts spaces between them, characters in Chinese.
import type { Script } from "../script.ts";
import type { Elements } from "./minhash.ts";
import { xxh64 } from "./xxh64.ts";
import type { Uint64 } from "./xxh64.ts";

/** As published for MinHash on web text (WanJuan-CC, RefinedWeb). */
export const WORDS = 5;
/** Five characters say about as much as three words: two long texts do not share them by chance. */
export const CHARACTERS = 5;
/**
 * A poem of 20 characters has 16 5-grams, and one other character destroys up to five of them: similarity 11/21, below
 * any useful threshold, though editions of a poem differ by just that. With 2-grams it is 17/21 = 0.81.
 * In long texts 2-grams would be too common, hence the limit.
 */
export const CHARACTERS_IF_SHORT = 2;
export const SHORT_CHARACTERS = 200;

/** Returns the function that makes the set of a text; the elements it returns are overwritten by the next call. */
export function createShingler(): (text: string, script: Script) => Elements {
  const encoder = new TextEncoder();
  let bytes = new Uint8Array(1 << 16);
  let starts = new Uint32Array(1 << 14);
  const elements: Elements = { low: new Uint32Array(0), high: new Uint32Array(0), count: 0 };
  const hash: Uint64 = { low: 0, high: 0 };

  return (text, script) => {
    // Punctuation, case and spacing do not make another text.
    const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
    const spaced = script !== "han";
    const joined = words.join(spaced ? " " : "");
    if (joined.length * 3 > bytes.length) bytes = new Uint8Array(joined.length * 4);
    const length = encoder.encodeInto(joined, bytes).written;

    // Tokens follow each other in one buffer, so that an n-gram is a range of its bytes.
    if (length + 1 > starts.length) starts = new Uint32Array(2 * length);
    let tokens = 0;
    if (spaced) {
      if (length > 0) starts[tokens++] = 0;
      for (let at = 0; at < length; at += 1) if (bytes[at] === 0x20) starts[tokens++] = at + 1;
    } else {
      for (let at = 0; at < length; at += 1) if ((bytes[at]! & 0xc0) !== 0x80) starts[tokens++] = at;
    }
    const gap = spaced ? 1 : 0;
    starts[tokens] = length + gap;

    const size = spaced ? WORDS : tokens > SHORT_CHARACTERS ? CHARACTERS : CHARACTERS_IF_SHORT;
    // A text shorter than one n-gram is one element.
    const count = tokens === 0 ? 0 : Math.max(1, tokens - size + 1);
    if (count > elements.low.length) {
      elements.low = new Uint32Array(2 * count);
      elements.high = new Uint32Array(2 * count);
    }
    for (let index = 0; index < count; index += 1) {
      xxh64(bytes, starts[index]!, starts[Math.min(index + size, tokens)]! - gap, hash);
      elements.low[index] = hash.low;
      elements.high[index] = hash.high;
    }
    elements.count = count;
    return elements;
  };
}
