// Values pushed by one side and awaited by the other, in order, until it is closed or fails.

export interface Queue<Value> extends AsyncIterable<Value> {
  push(value: Value): void;
  /** Ends the iteration after what was pushed. */
  close(): void;
  /** Throws at once in the consumer, before what it has not yet taken. */
  fail(error: unknown): void;
}

/** For one consumer. What is pushed after the end is dropped. */
export function createQueue<Value>(): Queue<Value> {
  const values: Value[] = [];
  let ended: { error?: unknown } | undefined;
  let wake: (() => void) | undefined;

  function end(how: { error?: unknown }): void {
    ended ??= how;
    wake?.();
  }

  return {
    push(value) {
      if (ended) return;
      values.push(value);
      wake?.();
    },
    close: () => end({}),
    fail: (error) => end({ error }),
    async *[Symbol.asyncIterator]() {
      for (;;) {
        if (ended && "error" in ended) throw ended.error;
        if (values.length > 0) yield values.shift()!;
        else if (ended) return;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          wake = undefined;
        }
      }
    },
  };
}
