// What a byte-level BPE tokenizer consists of, apart from any file format: made by training, read from and written to
// tokenizer.json, turned into a Tokenizer by byte-level.ts. And small helpers for texts that all tokenizers share.
import { createHash } from "node:crypto";
import type { SplitStep } from "./pre-tokenizer.ts";

export interface TokenEntry {
  /** What the token stands for, or the UTF-8 of a control token's name. */
  bytes: Uint8Array;
  /**
   * "merged": a byte or made by merging. "added": matched in the text before anything else.
   * "control": comes from a template alone.
   */
  kind: "merged" | "added" | "control";
  /** For added and control tokens: white space before or after it in a text belongs to it. */
  stripLeft?: true;
  stripRight?: true;
}

export type Normalization = "NFC" | "NFD" | "NFKC" | "NFKD";

export interface TokenizerData {
  /** By id; undefined where an id is not used. */
  tokens: readonly (TokenEntry | undefined)[];
  /** Merges in order of rank: the two ids that are joined and the id that they make. */
  merges: { lefts: Int32Array; rights: Int32Array; results: Int32Array };
  splits: readonly SplitStep[];
  /** Unicode normal forms applied to a text first; they make the round trip inexact. */
  normalizations: readonly Normalization[];
  /** A space is put before a text that does not start with one. */
  addPrefixSpace: boolean;
  /** A pre-token that is itself a token is taken whole, whatever the merges say. */
  ignoreMerges: boolean;
  bosId: number | undefined;
  eosId: number;
  padId: number | undefined;
  unknownId: number | undefined;
  /** Jinja source. */
  chatTemplate: string | undefined;
}

/** SHA-256 (hex) over every id's bytes and whether it is a control token. */
export function hashVocabulary(tokens: readonly ({ bytes: Uint8Array; control: boolean } | undefined)[]): string {
  const hash = createHash("sha256");
  const head = new Uint8Array(5);
  const view = new DataView(head.buffer);
  for (const token of tokens) {
    view.setUint32(0, token?.bytes.length ?? 0, true);
    head[4] = token === undefined ? 0 : token.control ? 2 : 1;
    hash.update(head);
    if (token !== undefined) hash.update(token.bytes);
  }
  return hash.digest("hex");
}

const encoder = new TextEncoder();

/** UTF-8; lone surrogates become U+FFFD. */
export function toUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Bytes that are no UTF-8 become U+FFFD; a leading U+FEFF is kept. */
export function fromUtf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** Source of a pattern that matches any of the texts, longest first; undefined where there are none. */
export function alternation(texts: readonly string[]): string | undefined {
  if (texts.length === 0) return undefined;
  return [...texts]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`))
    .join("|");
}
