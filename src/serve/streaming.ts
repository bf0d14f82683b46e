// Server-sent events out of an async iterator: pulled by the client, and cancelled when the client leaves.
import { errorBody, toHttpError, type HttpError } from "./errors.ts";

const encoder = new TextEncoder();

export interface StreamFormat {
  /** The text of an event's frame. Default `data: {json}`. */
  frame?: (value: unknown) => string;
  /** What follows the last event. Default `data: [DONE]`. */
  done?: string;
  /** What is sent where the iterator throws, as the status is long sent. Default `data: {"error": ...}`. */
  failure?: (error: HttpError) => string;
}

const dataFrame = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const doneFrame = dataFrame("[DONE]").replaceAll('"', "");
/** Frames of events that have a name, which is their `type`. */
export const namedFrame = (value: unknown): string => `event: ${(value as { type: string }).type}\n${dataFrame(value)}`;

/**
 * Waits for the first value, so that a request that is refused throws here and gets its status; then streams the rest.
 * Leaving early calls the iterator's `return`. `onEnd` is called once: the stream ended or failed, or the client left.
 * `onError` is told of failures in mid-stream that are defects.
 */
export async function eventStream(
  values: AsyncIterator<unknown>,
  { frame = dataFrame, done = doneFrame, failure = (error) => dataFrame(errorBody(error)) }: StreamFormat,
  onEnd: () => void,
  onError: (error: unknown) => void,
): Promise<Response> {
  let first: IteratorResult<unknown> | undefined = await values.next();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = first ?? (await values.next());
        first = undefined;
        const text = next.done ? done : frame(next.value);
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (!next.done) return;
      } catch (error) {
        const known = toHttpError(error);
        if (known.status === 500) onError(error);
        controller.enqueue(encoder.encode(failure(known)));
      }
      onEnd();
      controller.close();
    },
    async cancel() {
      onEnd();
      await values.return?.();
    },
  });
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  });
}

/** The values of several iterators as they come, each with the index of its iterator; leaving ends them all. */
export async function* interleave<Value>(
  iterables: readonly AsyncIterable<Value>[],
): AsyncGenerator<{ index: number; value: Value }, void, void> {
  const iterators = iterables.map((each) => each[Symbol.asyncIterator]());
  const advance = (index: number) => {
    const next = iterators[index]!.next().then((result) => ({ index, result }));
    // It may fail while nobody waits; the next race tells.
    next.catch(() => {});
    return next;
  };
  const pending = new Map(iterators.map((_, index) => [index, advance(index)]));
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(index);
        continue;
      }
      pending.set(index, advance(index));
      yield { index, value: result.value };
    }
  } finally {
    await Promise.all(iterators.map((each) => each.return?.()).map((each) => each?.catch(() => {})));
  }
}
