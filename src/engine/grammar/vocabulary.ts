// The bytes of every token as one trie, laid out so that a walk over it is a walk over arrays; and classes of tokens whose
// characters are all of one set, so that a walk need not meet them.
import { Failure } from "../../protocol/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Range } from "./expression.ts";
import { emptyWords, setBit } from "./mask.ts";
import { lastCodePoint } from "./unicode.ts";

/** Classes are kept for this many sets of characters; a grammar has a few. */
const maxKeptClasses = 32;

export interface Trie {
  /** Bytes of the longest token. */
  readonly depth: number;
  /** In preorder: the byte that leads to each node; node 0 is the root. */
  readonly bytes: Uint8Array;
  /** The node after a node's last descendant. */
  readonly ends: Int32Array;
  /** First token that ends at a node, or -1. */
  readonly tokens: Int32Array;
}

export interface Vocabulary extends Trie {
  readonly size: number;
  /** The next token of the same bytes as a token, or -1. */
  readonly twins: Int32Array;
  /** The token that is one given byte, or -1. */
  readonly singles: Int32Array;
  /** The tokens by the characters of a set; made once for each set. */
  classOf(ranges: readonly Range[]): TokenClass;
}

export interface TokenClass {
  /**
   * By count of characters, from 1: which tokens have so many, all of the set and none cut in two. One bit an id, as in
   * a mask. The bytes of one of them are beside, undefined where there is none.
   */
  readonly byLength: readonly { words: Uint32Array; example: Uint8Array | undefined }[];
  /** All other tokens. */
  readonly others: Trie;
}

/** Tokens of different bytes in the order of their bytes, one after the other. */
interface Spelled {
  ids: Int32Array;
  bytes: Uint8Array;
  /** Where each token's bytes begin, and where the last one's end. */
  starts: Int32Array;
  /** Bytes that each has in common with the one before. */
  shared: Int32Array;
}

const noBytes = new Uint8Array();
const known = new WeakMap<Tokenizer, Vocabulary>();

/** The trie of a tokenizer's tokens, control tokens left out; made once. */
export function vocabularyOf(tokenizer: Tokenizer): Vocabulary {
  let vocabulary = known.get(tokenizer);
  if (!vocabulary) {
    vocabulary = build(tokenizer);
    known.set(tokenizer, vocabulary);
  }
  return vocabulary;
}

function build(tokenizer: Tokenizer): Vocabulary {
  const { vocabSize } = tokenizer;
  const twins = new Int32Array(vocabSize).fill(-1);
  const singles = new Int32Array(256).fill(-1);
  const spelled = spell(tokenizer, twins);
  const { ids, bytes, starts } = spelled;
  for (let index = 0; index < ids.length; index++) {
    const start = starts[index]!;
    if (start + 1 === starts[index + 1]) singles[bytes[start]!] = ids[index]!;
  }
  const classes = new Map<string, TokenClass>();
  function classOf(ranges: readonly Range[]): TokenClass {
    const key = ranges.join(" ");
    const found = classes.get(key) ?? classify(spelled, twins, ranges);
    classes.delete(key);
    classes.set(key, found);
    if (classes.size > maxKeptClasses) classes.delete(classes.keys().next().value!);
    return found;
  }
  const all = Int32Array.from(ids, (_, index) => index);
  return { size: vocabSize, ...createTrie(spelled, all), twins, singles, classOf };
}

/** Sorts the tokens; of those of equal bytes the first stands for the others, which `twins` chains to it. */
function spell(tokenizer: Tokenizer, twins: Int32Array): Spelled {
  const { vocabSize } = tokenizer;
  // By id, one after the other: what is sorted then lies close together.
  const given: Uint8Array[] = [];
  const from = new Int32Array(vocabSize + 1);
  for (let id = 0; id < vocabSize; id++) {
    const token = tokenizer.isControl(id) ? noBytes : tokenizer.tokenBytes(id);
    given.push(token);
    from[id + 1] = from[id]! + token.length;
  }
  const text = new Uint8Array(from[vocabSize]!);
  for (let id = 0; id < vocabSize; id++) {
    const token = given[id]!;
    for (let at = 0; at < token.length; at++) text[from[id]! + at] = token[at]!;
  }
  const order = sortTokens(text, from);
  const ids = new Int32Array(order.length);
  const bytes = new Uint8Array(text.length);
  const starts = new Int32Array(order.length + 1);
  const shared = new Int32Array(order.length);
  let count = 0;
  let last = -1;
  for (const id of order) {
    const length = from[id + 1]! - from[id]!;
    if (length === 0) continue;
    const before = last < 0 ? 0 : from[last + 1]! - from[last]!;
    let same = 0;
    while (same < before && same < length && text[from[last]! + same] === text[from[id]! + same]) same += 1;
    if (same === before && same === length) {
      twins[last] = id;
    } else {
      const start = starts[count]!;
      for (let at = 0; at < length; at++) bytes[start + at] = text[from[id]! + at]!;
      ids[count] = id;
      shared[count] = same;
      starts[++count] = start + length;
    }
    last = id;
  }
  return { ids: ids.slice(0, count), bytes, starts: starts.slice(0, count + 1), shared: shared.slice(0, count) };
}

/** Ids in the order of their bytes, then ascending: token i has those of `text` from from[i] up to from[i + 1]. */
function sortTokens(text: Uint8Array, from: Int32Array): Int32Array {
  const order = Int32Array.from({ length: from.length - 1 }, (_, id) => id);
  // A number that sorts as so many bytes and then the id do.
  const width = 3;
  const idScale = 2 ** 28;
  const keys = new Float64Array(order.length);
  const open = [{ low: 0, high: order.length, depth: 0 }];
  for (let part = open.pop(); part; part = open.pop()) {
    const { low, high, depth } = part;
    for (let index = low; index < high; index++) {
      const id = order[index]!;
      const end = from[id + 1]!;
      let key = 0;
      for (let at = from[id]! + depth, last = at + width; at < last; at++)
        key = key * 257 + (at < end ? text[at]! + 1 : 0);
      keys[index] = key * idScale + id;
    }
    keys.subarray(low, high).sort();
    let start = low;
    let startKey = Math.floor(keys[low]! / idScale);
    for (let index = low; index <= high; index++) {
      const key = index < high ? Math.floor(keys[index]! / idScale) : -1;
      if (index < high) order[index] = keys[index]! - key * idScale;
      if (key === startKey) continue;
      // The last byte is 0 where all of the group have ended.
      if (index - start > 1 && startKey % 257 !== 0) open.push({ low: start, high: index, depth: depth + width });
      start = index;
      startKey = key;
    }
  }
  return order;
}

/** The trie of some of the tokens, by ascending index. */
function createTrie({ ids, bytes: text, starts, shared }: Spelled, chosen: Int32Array): Trie {
  let capacity = 1;
  let depth = 0;
  for (const index of chosen) {
    const length = starts[index + 1]! - starts[index]!;
    capacity += length;
    depth = Math.max(depth, length);
  }
  const bytes = new Uint8Array(capacity);
  const ends = new Int32Array(capacity);
  const tokens = new Int32Array(capacity).fill(-1);
  /** Nodes from the root to the token before. */
  const path = new Int32Array(depth + 1);
  let level = 0;
  let size = 1;
  let before = -1;
  for (const index of chosen) {
    let same = before < 0 ? 0 : level;
    for (let between = before + 1; between <= index; between++) same = Math.min(same, shared[between]!);
    while (level > same) ends[path[level--]!] = size;
    for (let at = starts[index]! + same; at < starts[index + 1]!; at++) {
      path[++level] = size;
      bytes[size++] = text[at]!;
    }
    tokens[path[level]!] = ids[index]!;
    before = index;
  }
  while (level >= 0) ends[path[level--]!] = size;
  return { depth, bytes: bytes.slice(0, size), ends: ends.slice(0, size), tokens: tokens.slice(0, size) };
}

function classify(spelled: Spelled, twins: Int32Array, ranges: readonly Range[]): TokenClass {
  const { ids, bytes, starts } = spelled;
  const byLength: { words: Uint32Array; example: Uint8Array | undefined }[] = [];
  const others = new Int32Array(ids.length);
  let otherCount = 0;
  const isAscii = Uint8Array.from({ length: 128 }, (_, byte) => Number(inRanges(ranges, byte)));

  /** Characters of the bytes from one to another, all of the set; 0 where they are anything else. */
  function characters(from: number, to: number): number {
    let count = 0;
    for (let at = from; at < to; count++) {
      const first = bytes[at]!;
      if (first < 128) {
        if (isAscii[first] === 0) return 0;
        at += 1;
        continue;
      }
      const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
      let codePoint = first & (0xff >> (length + 1));
      if (first < 0xc2 || first > 0xf4 || at + length > to) return 0;
      for (const end = at++ + length; at < end; at++) {
        if (bytes[at]! >> 6 !== 2) return 0;
        codePoint = (codePoint << 6) | (bytes[at]! & 0x3f);
      }
      // Neither spelled too long, nor half of a pair, nor past the last.
      const isCharacter =
        codePoint >= (length === 2 ? 0x80 : length === 3 ? 0x800 : 0x10000) &&
        codePoint <= lastCodePoint &&
        (codePoint < 0xd800 || codePoint > 0xdfff);
      if (!isCharacter || !inRanges(ranges, codePoint)) return 0;
    }
    return count;
  }

  for (let index = 0; index < ids.length; index++) {
    const start = starts[index]!;
    const end = starts[index + 1]!;
    const count = characters(start, end);
    if (count === 0) {
      others[otherCount++] = index;
      continue;
    }
    while (byLength.length < count) byLength.push({ words: emptyWords(twins.length), example: undefined });
    const entry = byLength[count - 1]!;
    entry.example ??= bytes.slice(start, end);
    for (let id = ids[index]!; id >= 0; id = twins[id]!) setBit(entry.words, id);
  }
  return { byLength, others: createTrie(spelled, others.subarray(0, otherCount)) };
}

/** Whether one of the ranges, which are sorted, has a code point. */
function inRanges(ranges: readonly Range[], codePoint: number): boolean {
  for (const [low, high] of ranges) if (codePoint <= high) return codePoint >= low;
  return false;
}

/** Any text must be spellable byte by byte, or the shortest way to an end could be blocked. */
export function requireAllBytes(vocabulary: Vocabulary): void {
  for (let byte = 0; byte < 0xf5; byte++) {
    if (byte === 0xc0 || byte === 0xc1 || vocabulary.singles[byte]! >= 0) continue;
    throw new Failure(
      "input",
      `The tokenizer has no token for the single byte 0x${byte.toString(16).padStart(2, "0")}.`,
      "Constrained decoding needs a byte-level tokenizer, or one with byte fallback.",
    );
  }
}
