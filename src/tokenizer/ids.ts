// Small helpers for sequences of token ids: a growing buffer, and the bytes that ids stand for.

export interface IdBuffer {
  push(id: number): void;
  append(ids: Int32Array): void;
  /** A copy of what was collected. */
  take(): Int32Array;
}

export function createIdBuffer(capacity = 16): IdBuffer {
  let ids = new Int32Array(Math.max(16, capacity));
  let length = 0;
  function reserve(more: number): void {
    if (length + more <= ids.length) return;
    const larger = new Int32Array(Math.max(length + more, ids.length * 2));
    larger.set(ids);
    ids = larger;
  }
  return {
    push(id) {
      reserve(1);
      ids[length++] = id;
    },
    append(more) {
      reserve(more.length);
      // Most pieces are one or two ids, for which `set` costs more than the copy.
      if (more.length <= 8) for (let index = 0; index < more.length; index++) ids[length++] = more[index]!;
      else {
        ids.set(more, length);
        length += more.length;
      }
    },
    take: () => ids.slice(0, length),
  };
}

/** The bytes of all ids, one after another. */
export function joinBytes(ids: ArrayLike<number>, tokenBytes: (id: number) => Uint8Array): Uint8Array {
  let length = 0;
  for (let index = 0; index < ids.length; index++) length += tokenBytes(ids[index]!).length;
  const bytes = new Uint8Array(length);
  let position = 0;
  for (let index = 0; index < ids.length; index++) {
    const token = tokenBytes(ids[index]!);
    bytes.set(token, position);
    position += token.length;
  }
  return bytes;
}
