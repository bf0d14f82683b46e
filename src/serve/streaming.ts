// Server-sent events out of an async iterable: pulled by the client, ended by [DONE], cancelled when the client leaves.
import { errorBody, toHttpError } from "./errors.ts";

const encoder = new TextEncoder();
const frame = (data: string): Uint8Array => encoder.encode(`data: ${data}\n\n`);

export interface EventStreamOptions {
  /** The client left, or the stream ended or failed: called once. */
  onEnd: () => void;
}

/**
 * Each value as `data: {json}`. A failure in mid-stream is a last event `{"error": ...}`, as the status is long sent.
 * Leaving early calls the iterator's `return`.
 */
export function eventStream(values: AsyncIterator<unknown>, { onEnd }: EventStreamOptions): Response {
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await values.next();
        controller.enqueue(frame(done ? "[DONE]" : JSON.stringify(value)));
        if (!done) return;
      } catch (error) {
        controller.enqueue(frame(JSON.stringify(errorBody(toHttpError(error)))));
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
