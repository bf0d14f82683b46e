// One file over HTTP: appended to a part on disk where a download broke off, checked, and moved to its place when whole.
// What is right is the caller's to say: it knows the digest.
import { closeSync, openSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { Failure } from "../protocol/errors.ts";
import type { JobEvent } from "../protocol/job.ts";
import { requestWithRetries, RetryError } from "./request.ts";

export interface FetchFileOptions {
  /** How progress and notes name the file. */
  label: string;
  /** A longer file is refused. */
  maxBytes: number;
  /** What the content is checked against, for the error. */
  expected: string;
  /** Whether a file on disk is the one that is wanted. */
  isWhole(path: string): Promise<boolean>;
  /** Sent with each request, for example a token. */
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
  /** Pause before the second attempt, for tests. */
  pauseMs?: number;
}

/**
 * Fetches `url` to `path` by way of `path.part`, which the next call goes on with.
 * @throws Failure "environment" without network, "input" where the content is not what is expected.
 */
export async function* fetchFile(
  url: string,
  path: string,
  options: FetchFileOptions,
): AsyncGenerator<JobEvent, void, void> {
  const { label, expected, isWhole } = options;
  const partPath = `${path}.part`;
  const resumed = sizeOf(partPath) > 0;
  if (resumed) yield { type: "note", text: `${label}: resuming at ${sizeOf(partPath)} bytes` };
  yield* fetchPart(url, partPath, options);
  if (!(await isWhole(partPath))) {
    rmSync(partPath);
    if (resumed) {
      // What was resumed may have been something else's beginning: once more from the start.
      yield { type: "note", text: `${label}: the resumed download is damaged, starting over` };
      yield* fetchPart(url, partPath, options);
    }
    if (!(await isWhole(partPath))) {
      rmSync(partPath, { force: true });
      const hint = "Something on the way changes files; try another network or mirror.";
      throw new Failure("input", `${url}: the content does not match ${expected}`, hint);
    }
  }
  renameSync(partPath, path);
}

/** Appends what is missing to the part, with events on the way. */
async function* fetchPart(
  url: string,
  partPath: string,
  { label, maxBytes, headers: fixed, signal, pauseMs }: FetchFileOptions,
): AsyncGenerator<JobEvent, void, void> {
  const request = { ...(signal ? { signal } : {}), ...(pauseMs ? { pauseMs } : {}) };
  const pending: JobEvent[] = [];
  let wake: () => void = () => {};
  const emit = (event: JobEvent): void => {
    pending.push(event);
    wake();
  };
  const step = `download ${label}`;
  const headers = (): Record<string, string> => {
    const have = sizeOf(partPath);
    return { ...fixed, ...(have > 0 && { range: `bytes=${have}-` }) };
  };
  const onRetry = (fault: string): void => emit({ type: "note", text: `${label}: ${fault}, trying again` });
  let ended = false;
  let farthest = sizeOf(partPath);
  const transfer = requestWithRetries(url, { ...request, headers, onRetry, accept: [416] }, (response, alive) =>
    appendBody(
      response,
      partPath,
      maxBytes,
      (done) => {
        alive(done > farthest);
        farthest = Math.max(farthest, done);
      },
      (done, total) => emit({ type: "progress", step, done, ...(total === undefined ? {} : { total }), unit: "bytes" }),
    ),
  ).finally(() => {
    ended = true;
    wake();
  });
  // Awaited below; a rejection in the meantime must not count as unhandled.
  transfer.catch(() => {});
  for (;;) {
    while (pending.length > 0) yield pending.shift()!;
    if (ended) break;
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (pending.length > 0 || ended) resolve();
    });
  }
  await transfer;
}

const PROGRESS_BYTES = 1024 * 1024;

async function appendBody(
  response: Response,
  partPath: string,
  maxBytes: number,
  onData: (done: number) => void,
  onProgress: (done: number, total: number | undefined) => void,
): Promise<void> {
  if (response.status === 416) {
    // The part is as long as the file or longer; its digest decides, and a bad one is thrown away here.
    await response.body?.cancel();
    const total = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]);
    if (total === sizeOf(partPath)) return;
    rmSync(partPath, { force: true });
    throw new RetryError("the part on disk is longer than the file");
  }
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  const isContinuation = response.status === 206 && Number(range?.[1]) === sizeOf(partPath);
  if (response.status === 206 && !isContinuation) {
    await response.body?.cancel();
    rmSync(partPath, { force: true });
    throw new RetryError("the server sent another range than asked for");
  }
  // A server that knows no ranges answers 200 with the whole file: start over.
  let done = isContinuation ? sizeOf(partPath) : 0;
  const length = response.headers.get("content-length");
  const total = isContinuation ? Number(range![2]) : length === null ? undefined : Number(length);
  let reported = 0;
  const descriptor = openSync(partPath, isContinuation ? "a" : "w");
  try {
    for await (const chunk of response.body!) {
      for (let at = 0; at < chunk.length;) at += writeSync(descriptor, chunk, at);
      done += chunk.length;
      if (done > maxBytes) throw new Failure("input", `${response.url} is larger than ${maxBytes} bytes`);
      onData(done);
      if (done - reported >= PROGRESS_BYTES || done === total) {
        onProgress(done, total);
        reported = done;
      }
    }
  } finally {
    closeSync(descriptor);
  }
  if (total !== undefined && done < total) throw new RetryError(`the connection closed at ${done} of ${total} bytes`);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
