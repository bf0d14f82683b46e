// Which ids may come next, one bit an id: 16 KB for a vocabulary of 128k, so that masks can be kept by the thousand.

export interface TokenMask {
  /** Bit id % 32 of word id / 32 is set where the id may come. */
  readonly words: Uint32Array;
  /** Ids that may come. */
  readonly count: number;
  has(id: number): boolean;
  /** All ids that may come, ascending. */
  ids(): Int32Array;
  /** Writes the logits of the ids that may come, and the ids, side by side in ascending order; returns their count. */
  gather(logits: Float32Array, values: Float32Array, ids: Int32Array): number;
  /** Sets the logits of the first `size` ids that may not come to -Infinity. */
  close(logits: Float32Array, size: number): void;
}

/** A mask over these words, which it keeps. */
export function createMask(words: Uint32Array): TokenMask {
  let count = 0;
  for (const word of words) count += bitCount(word);
  return {
    words,
    count,
    has: (id) => ((words[id >>> 5]! >>> (id & 31)) & 1) === 1,
    ids() {
      const ids = new Int32Array(count);
      let at = 0;
      for (let index = 0; index < words.length; index++) {
        for (let rest = words[index]!; rest !== 0; rest &= rest - 1) {
          ids[at++] = index * 32 + 31 - Math.clz32(rest & -rest);
        }
      }
      return ids;
    },
    gather(logits, values, ids) {
      let at = 0;
      for (let index = 0; index < words.length; index++) {
        for (let rest = words[index]!; rest !== 0; rest &= rest - 1) {
          const id = index * 32 + 31 - Math.clz32(rest & -rest);
          ids[at] = id;
          values[at++] = logits[id]!;
        }
      }
      return at;
    },
    close(logits, size) {
      for (let index = 0; index * 32 < size; index++) {
        for (let rest = ~words[index]!; rest !== 0; rest &= rest - 1) {
          const id = index * 32 + 31 - Math.clz32(rest & -rest);
          if (id < size) logits[id] = -Infinity;
        }
      }
    },
  };
}

/** Words for so many ids, none of which may come. */
export function emptyWords(size: number): Uint32Array {
  return new Uint32Array(Math.ceil(size / 32));
}

export function setBit(words: Uint32Array, id: number): void {
  words[id >>> 5]! |= 1 << (id & 31);
}

/** Ones of a word; Warren, "Hacker's Delight", 2nd edition, section 5-1. */
function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  bits = (bits + (bits >>> 4)) & 0x0f0f0f0f;
  return Math.imul(bits, 0x01010101) >>> 24;
}
