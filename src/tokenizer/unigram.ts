// Unigram segmentation: the way of cutting a text whose pieces' scores sum highest (Viterbi). Linear in the text.
// Source: Kudo 2018, "Subword Regularization"; ties and rounding as SentencePiece has them.
import type { IdBuffer } from "./ids.ts";
import { createPairTable } from "./pair-table.ts";
import type { PieceEncoder } from "./piece-merges.ts";

export interface UnigramOptions {
  /** Pieces that may be used: id and score by text. */
  pieces: Iterable<{ text: string; id: number; score: number }>;
  /** Sums are rounded to float32, as SentencePiece's are; else they are doubles, as in Hugging Face's tokenizers. */
  single: boolean;
  /** The worst score of the vocabulary. Default: of the pieces. */
  leastScore?: number;
  /** Ids for a run of characters that no piece covers. */
  fallback(run: string): Int32Array;
}

/** An unknown character scores this much less than the worst piece. */
const UNKNOWN_PENALTY = 10;

/** The encoder takes well-formed texts. */
export function createUnigram({ pieces, single, leastScore, fallback }: UnigramOptions): PieceEncoder {
  // A trie over UTF-16 units: nodes are numbered from 0, children lie in a hash table.
  const children = createPairTable(1 << 16);
  const ids: number[] = [-1];
  const scores: number[] = [0];
  let least = Infinity;
  for (const { text, id, score } of pieces) {
    let node = 0;
    for (let index = 0; index < text.length; index++) {
      let child = children.get(node, text.charCodeAt(index));
      if (child < 0) {
        child = ids.length;
        children.set(node, text.charCodeAt(index), child);
        ids.push(-1);
        scores.push(0);
      }
      node = child;
    }
    if (node === 0 || ids[node]! >= 0) continue;
    ids[node] = id;
    scores[node] = score;
    least = Math.min(least, score);
  }
  least = leastScore ?? least;
  const nodeIds = Int32Array.from(ids);
  // The first step, which every character takes, goes without hashing.
  const firstNodes = Int32Array.from({ length: 0x10000 }, (_, unit) => children.get(0, unit));
  const nodeScores = Float64Array.from(scores);
  const round = single ? Math.fround : (value: number) => value;
  const unknownScore = round((Number.isFinite(least) ? least : 0) - UNKNOWN_PENALTY);

  return function encode(text: string, output: IdBuffer): void {
    const size = text.length;
    const best = new Float64Array(size + 1);
    const startOf = new Int32Array(size + 1).fill(-1);
    const pieceAt = new Int32Array(size + 1).fill(-1);
    for (let start = 0; start < size;) {
      const unit = text.charCodeAt(start);
      const wide = unit >= 0xd800 && unit <= 0xdbff;
      const oneCharacter = start + (wide ? 2 : 1);
      const soFar = best[start]!;
      let covered = false;
      let node = 0;
      for (let end = start; end < size;) {
        node = node === 0 ? firstNodes[text.charCodeAt(end)]! : children.get(node, text.charCodeAt(end));
        if (node < 0) break;
        end++;
        const id = nodeIds[node]!;
        if (id < 0) continue;
        const score = nodeScores[node]!;
        const candidate = round(soFar + score);
        if (startOf[end]! < 0 || candidate > best[end]!) {
          best[end] = candidate;
          startOf[end] = start;
          pieceAt[end] = id;
        }
        if (end === oneCharacter) covered = true;
      }
      if (!covered) {
        const candidate = round(soFar + unknownScore);
        if (startOf[oneCharacter]! < 0 || candidate > best[oneCharacter]!) {
          best[oneCharacter] = candidate;
          startOf[oneCharacter] = start;
          pieceAt[oneCharacter] = -1;
        }
      }
      start = oneCharacter;
    }

    const ends: number[] = [];
    for (let end = size; end > 0; end = startOf[end]!) ends.push(end);
    let runBegin = -1;
    for (let index = ends.length - 1; index >= 0; index--) {
      const end = ends[index]!;
      const id = pieceAt[end]!;
      if (id < 0) {
        if (runBegin < 0) runBegin = startOf[end]!;
        continue;
      }
      if (runBegin >= 0) output.append(fallback(text.slice(runBegin, startOf[end]!)));
      runBegin = -1;
      output.push(id);
    }
    if (runBegin >= 0) output.append(fallback(text.slice(runBegin)));
  };
}
