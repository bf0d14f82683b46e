// The bytes of every token as one trie, laid out so that a walk over it is a walk over arrays.
import { Failure } from "../../protocol/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";

export interface Vocabulary {
  readonly size: number;
  /** Bytes of the longest token. */
  readonly depth: number;
  /** In preorder: the byte that leads to each node; node 0 is the root. */
  readonly bytes: Uint8Array;
  /** The node after a node's last descendant. */
  readonly ends: Int32Array;
  /** First token that ends at a node, or -1. */
  readonly tokens: Int32Array;
  /** The next token of the same bytes as a token, or -1. */
  readonly twins: Int32Array;
  /** The token that is one given byte, or -1. */
  readonly singles: Int32Array;
}

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
  const spelled: { id: number; bytes: Uint8Array }[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (tokenizer.isControl(id)) continue;
    const bytes = tokenizer.tokenBytes(id);
    if (bytes.length > 0) spelled.push({ id, bytes });
  }
  spelled.sort((left, right) => Buffer.compare(left.bytes, right.bytes) || left.id - right.id);

  const bytes: number[] = [0];
  const ends: number[] = [0];
  const tokens: number[] = [-1];
  const twins = new Int32Array(tokenizer.vocabSize).fill(-1);
  const singles = new Int32Array(256).fill(-1);
  /** Nodes from the root to the token before. */
  const path: number[] = [0];
  let before: { id: number; bytes: Uint8Array } = { id: -1, bytes: new Uint8Array() };
  for (const token of spelled) {
    let shared = 0;
    while (shared < before.bytes.length && before.bytes[shared] === token.bytes[shared]) shared += 1;
    if (shared === token.bytes.length && before.id >= 0) {
      twins[before.id] = token.id;
    } else {
      for (const left of path.splice(shared + 1)) ends[left] = bytes.length;
      for (const byte of token.bytes.subarray(shared)) {
        path.push(bytes.length);
        bytes.push(byte);
        ends.push(0);
        tokens.push(-1);
      }
      tokens[path.at(-1)!] = token.id;
      if (token.bytes.length === 1) singles[token.bytes[0]!] = token.id;
    }
    before = token;
  }
  for (const left of path) ends[left] = bytes.length;
  return {
    size: tokenizer.vocabSize,
    depth: spelled.reduce((most, token) => Math.max(most, token.bytes.length), 0),
    bytes: Uint8Array.from(bytes),
    ends: Int32Array.from(ends),
    tokens: Int32Array.from(tokens),
    twins,
    singles,
  };
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
