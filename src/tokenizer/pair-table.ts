// A hash table from pairs of token ids to small integers, in typed arrays: what merging and training look up most.
// Open addressing with linear probing; entries are never removed.

export interface PairTable {
  readonly size: number;
  /** The value of a pair, or -1. */
  get(left: number, right: number): number;
  /** Sets the value (0 or more) of a pair. */
  set(left: number, right: number, value: number): void;
}

export function createPairTable(expectedSize = 16): PairTable {
  let bits = 5;
  while (2 ** bits < expectedSize * 2) bits++;
  let lefts = new Int32Array(2 ** bits);
  let rights = new Int32Array(2 ** bits);
  let values = new Int32Array(2 ** bits).fill(-1);
  let size = 0;

  /** The slot that holds the pair, or the free one where it belongs. */
  function slotOf(left: number, right: number): number {
    const hash = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b);
    const mask = values.length - 1;
    let slot = (hash ^ (hash >>> 15)) & mask;
    while (values[slot]! >= 0 && (lefts[slot] !== left || rights[slot] !== right)) slot = (slot + 1) & mask;
    return slot;
  }

  function grow(): void {
    const [oldLefts, oldRights, oldValues] = [lefts, rights, values];
    lefts = new Int32Array(oldLefts.length * 2);
    rights = new Int32Array(oldLefts.length * 2);
    values = new Int32Array(oldLefts.length * 2).fill(-1);
    for (let index = 0; index < oldValues.length; index++) {
      if (oldValues[index]! < 0) continue;
      const slot = slotOf(oldLefts[index]!, oldRights[index]!);
      lefts[slot] = oldLefts[index]!;
      rights[slot] = oldRights[index]!;
      values[slot] = oldValues[index]!;
    }
  }

  return {
    get size() {
      return size;
    },
    get: (left, right) => values[slotOf(left, right)]!,
    set(left, right, value) {
      let slot = slotOf(left, right);
      if (values[slot]! < 0) {
        if (++size * 2 > values.length) {
          grow();
          slot = slotOf(left, right);
        }
        lefts[slot] = left;
        rights[slot] = right;
      }
      values[slot] = value;
    },
  };
}
