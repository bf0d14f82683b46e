// BPE over the characters of a text, as SentencePiece and its descendants do it: a vocabulary of texts, not of bytes.
// A text is cut wherever no piece reaches across, which changes nothing in the result, so that stretches can be
// remembered and time stays linear. What has no piece is left to the caller's fallback.
import type { IdBuffer } from "./ids.ts";
import { createMergeTable, mergeSymbols } from "./merge.ts";
import { createPairTable } from "./pair-table.ts";

export interface PieceMerge {
  left: string;
  right: string;
  /** Id of the joined text. */
  result: number;
  /** Lower is joined first; equal ranks from left to right. */
  rank: number;
}

export interface PieceMergerOptions {
  /** Every text that can be a symbol, with its id. */
  idOfText: ReadonlyMap<string, number>;
  merges: Iterable<PieceMerge>;
  /** Ids for a character that has none. */
  fallback(character: string): Int32Array;
  /** Several of these in a row are written once: the unknown token, where that is the rule. */
  fusedId?: number | undefined;
}

/** Ids of stretches up to this many UTF-16 units are remembered. */
const LONGEST_CACHED = 48;
/** When this many are remembered, all are forgotten. */
const CACHE_ENTRIES = 100_000;

/** Appends the ids of a text to the output. The text is well-formed. */
export type PieceEncoder = (text: string, output: IdBuffer) => void;

export function createPieceMerger({ idOfText, merges, fallback, fusedId }: PieceMergerOptions): PieceEncoder {
  // Characters that only occur within longer pieces are symbols too, numbered after all ids.
  let firstExtra = 0;
  for (const id of idOfText.values()) firstExtra = Math.max(firstExtra, id + 1);
  const extras: string[] = [];
  const symbolOfCharacter = new Map<string, number>();
  const symbolOf = (text: string): number => {
    const id = idOfText.get(text) ?? symbolOfCharacter.get(text);
    if (id !== undefined) return id;
    symbolOfCharacter.set(text, firstExtra + extras.length);
    extras.push(text);
    return firstExtra + extras.length - 1;
  };
  for (const [text, id] of idOfText) if (isOneCharacter(text)) symbolOfCharacter.set(text, id);

  const joins = createPairTable(1024);
  const [lefts, rights, results, ranks]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (const { left, right, result, rank } of merges) {
    lefts.push(symbolOf(left));
    rights.push(symbolOf(right));
    results.push(result);
    ranks.push(rank);
    joins.set(left.charCodeAt(left.length - 1), right.charCodeAt(0), 1);
  }
  const table = createMergeTable(lefts, rights, Int32Array.from(results), Int32Array.from(ranks));
  const cache = new Map<string, Int32Array>();
  let symbols = new Int32Array(1024);

  function encodeStretch(stretch: string): Int32Array {
    if (symbols.length < stretch.length) symbols = new Int32Array(stretch.length * 2);
    let count = 0;
    for (const character of stretch) {
      const symbol = symbolOfCharacter.get(character);
      // A character of no piece is a stretch by itself.
      if (symbol === undefined) return fallback(character);
      symbols[count++] = symbol;
    }
    count = mergeSymbols(symbols, count, table);
    let plain = true;
    for (let index = 0; index < count; index++) if (symbols[index]! >= firstExtra) plain = false;
    if (plain) return symbols.slice(0, count);
    const ids: number[] = [];
    for (let index = 0; index < count; index++) {
      const symbol = symbols[index]!;
      const more = symbol < firstExtra ? [symbol] : fallback(extras[symbol - firstExtra]!);
      for (const id of more) if (id !== fusedId || ids.at(-1) !== fusedId) ids.push(id);
    }
    return Int32Array.from(ids);
  }

  return function encode(text, output) {
    let fusing = false;
    let begin = 0;
    while (begin < text.length) {
      let end = begin + 1;
      while (
        end < text.length &&
        (joins.get(text.charCodeAt(end - 1), text.charCodeAt(end)) >= 0 || isLowSurrogate(text.charCodeAt(end)))
      ) {
        end++;
      }
      const stretch = text.slice(begin, end);
      begin = end;
      let ids = stretch.length <= LONGEST_CACHED ? cache.get(stretch) : undefined;
      if (ids === undefined) {
        ids = encodeStretch(stretch);
        if (stretch.length <= LONGEST_CACHED) {
          if (cache.size >= CACHE_ENTRIES) cache.clear();
          cache.set(stretch, ids);
        }
      }
      if (ids.length === 0) continue;
      output.append(fusing && ids[0] === fusedId ? ids.subarray(1) : ids);
      fusing = fusedId !== undefined && ids[ids.length - 1] === fusedId;
    }
  };
}

const isLowSurrogate = (unit: number) => unit >= 0xdc00 && unit <= 0xdfff;

function isOneCharacter(text: string): boolean {
  return text.length === 1 || (text.length === 2 && text.codePointAt(0)! > 0xffff);
}

/**
 * Every way in which a piece is two symbols (pieces or single characters), ranked by the piece's score: the best first,
 * equal scores equal.
 */
export function* mergesByScore(
  idOfText: ReadonlyMap<string, number>,
  scoreOf: (id: number) => number,
): Generator<PieceMerge> {
  const scores = [...new Set([...idOfText.values()].map(scoreOf))].sort((a, b) => b - a);
  const rankOfScore = new Map(scores.map((score, rank) => [score, rank]));
  for (const [text, id] of idOfText) {
    const rank = rankOfScore.get(scoreOf(id))!;
    for (let cut = 1; cut < text.length; cut++) {
      if (isLowSurrogate(text.charCodeAt(cut))) continue;
      const [left, right] = [text.slice(0, cut), text.slice(cut)];
      if (!idOfText.has(left) && !isOneCharacter(left)) continue;
      if (!idOfText.has(right) && !isOneCharacter(right)) continue;
      yield { left, right, result: id, rank };
    }
  }
}
