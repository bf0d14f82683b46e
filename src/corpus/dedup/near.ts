// Near duplicates: MinHash signatures, candidates by banding, each candidate pair checked by its estimated similarity,
// and what is connected is one cluster. Time and memory grow linearly: 512 bytes a document for its signature, 16 more
// while clustering, and one hash map of the documents at a time.
import type { Script } from "../script.ts";
import { createMinHasher, MINHASH_SEED } from "./minhash.ts";
import { CHARACTERS, CHARACTERS_IF_SHORT, createShingler, SHORT_CHARACTERS, WORDS } from "./shingles.ts";

/** 14 bands of 9 are the best split of 128 for a threshold of 0.7: of pairs at 0.8 they find 87%, at 0.6 13%. */
export const NEAR_DUPLICATES = {
  hashes: 128,
  bands: 14,
  rows: 9,
  threshold: 0.7,
  seed: MINHASH_SEED,
  words: WORDS,
  characters: CHARACTERS,
  charactersIfShort: CHARACTERS_IF_SHORT,
  shortCharacters: SHORT_CHARACTERS,
  /** A document is compared with so many that share a band with it: the bound that keeps the cost linear. */
  comparedPerBand: 16,
} as const;

/** Signatures are kept in blocks, since one array of a large corpus could not grow. */
const BLOCK_DOCUMENTS = 1 << 14;

export interface NearDuplicates {
  /** Adds a document; its number is the count of those before it. */
  add(text: string, script: Script): void;
  /** For each document the least number in its cluster. Yields the bands done, to show progress and let others run. */
  cluster(): Generator<number, Int32Array, void>;
}

export function createNearDuplicates(): NearDuplicates {
  const { hashes, bands, rows, threshold, comparedPerBand } = NEAR_DUPLICATES;
  const shingles = createShingler();
  const minHash = createMinHasher(hashes);
  const equalNeeded = Math.ceil(threshold * hashes);
  /** The low 32 bits of each value: two sets that differ agree in them once in 2^32. */
  const blocks: Uint32Array[] = [];
  /** 1 where a text has no letters, and so no signature. */
  const empty: number[] = [];
  let count = 0;

  const offsetOf = (document: number): number => (document % BLOCK_DOCUMENTS) * hashes;
  const blockOf = (document: number): Uint32Array => blocks[Math.floor(document / BLOCK_DOCUMENTS)]!;

  const isSimilar = (first: number, second: number): boolean => {
    const firstBlock = blockOf(first);
    const secondBlock = blockOf(second);
    const firstOffset = offsetOf(first);
    const secondOffset = offsetOf(second);
    let equal = 0;
    for (let index = 0; index < hashes; index += 1) {
      if (firstBlock[firstOffset + index] === secondBlock[secondOffset + index]) equal += 1;
    }
    return equal >= equalNeeded;
  };

  /** 53 bits of a hash of a band: an exact integer, which a Map takes as a key. A collision costs one comparison. */
  const bandKey = (document: number, band: number): number => {
    const block = blockOf(document);
    const offset = offsetOf(document) + band * rows;
    let high = 0x9e3779b9;
    let low = 0x85ebca6b;
    for (let row = 0; row < rows; row += 1) {
      const value = block[offset + row]!;
      high = Math.imul((high << 13) ^ (high >>> 19) ^ value, 0xcc9e2d51);
      low = Math.imul((low << 15) ^ (low >>> 17) ^ value, 0x1b873593);
    }
    return (high >>> 0) * 2 ** 21 + (low >>> 11);
  };

  return {
    add(text, script) {
      const elements = shingles(text, script);
      if (count % BLOCK_DOCUMENTS === 0) blocks.push(new Uint32Array(BLOCK_DOCUMENTS * hashes));
      blockOf(count).set(minHash(elements).low, offsetOf(count));
      empty.push(elements.count === 0 ? 1 : 0);
      count += 1;
    },

    *cluster() {
      // Which pairs are compared depends on the documents' numbers alone, and clusters are the connected parts of the
      // pairs that agree: no order of work can change them.
      const parents = Int32Array.from({ length: count }, (_, index) => index);
      const root = (document: number): number => {
        let at = document;
        while (parents[at] !== at) {
          parents[at] = parents[parents[at]!]!;
          at = parents[at]!;
        }
        return at;
      };
      const previous = new Int32Array(count);
      for (let band = 0; band < bands; band += 1) {
        const last = new Map<number, number>();
        for (let document = 0; document < count; document += 1) {
          if (empty[document] === 1) continue;
          const key = bandKey(document, band);
          let other = last.get(key) ?? -1;
          previous[document] = other;
          last.set(key, document);
          for (let compared = 0; other >= 0 && compared < comparedPerBand; compared += 1) {
            const [one, two] = [root(document), root(other)];
            if (one !== two && isSimilar(document, other)) parents[Math.max(one, two)] = Math.min(one, two);
            other = previous[other]!;
          }
        }
        yield band + 1;
      }
      return Int32Array.from({ length: count }, (_, document) => root(document));
    },
  };
}
