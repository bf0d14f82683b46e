import assert from "node:assert/strict";
import { test } from "node:test";
import { isMainThread } from "node:worker_threads";
import { Failure, type Job, type JobEvent } from "../../protocol/index.ts";
import { runInWorker } from "./worker-job.ts";

// The jobs below run in the worker: it imports this very file and calls them by name.

export async function* sum(options: { values: number[] }): Job<{ total: number }> {
  let total = 0;
  for (const [index, value] of options.values.entries()) {
    total += value;
    yield { type: "progress", step: "sum", done: index + 1, total: options.values.length, unit: "values" };
  }
  return { total };
}

export async function* refuse(): Job<void> {
  yield { type: "note", text: "about to fail" };
  throw new Failure("input", "tensor w has 3 values, expected 4", "export it again");
}

export async function* breakDown(): Job<void> {
  yield { type: "note", text: "about to break" };
  throw new TypeError("a defect");
}

/** Computes without ever waiting, as training does. */
export async function* busy({ signal }: { signal: AbortSignal }): Job<number> {
  for (let round = 0; ; round++) {
    signal.throwIfAborted();
    for (let i = 0; i < 100_000; i++) Math.sqrt(i);
    yield { type: "progress", step: "busy", done: round, unit: "rounds" };
  }
}

/** Waits for something that never comes, as a download can. */
export async function* waiting({ signal }: { signal: AbortSignal }): Job<void> {
  yield { type: "note", text: "waiting" };
  signal.throwIfAborted();
  await new Promise((_, reject) => {
    const alive = setInterval(() => {}, 1_000);
    signal.addEventListener("abort", () => {
      clearInterval(alive);
      reject(signal.reason);
    });
  });
}

export async function* leave(): Job<void> {
  yield { type: "note", text: "leaving" };
  process.exit(7);
}

if (isMainThread) register();

function register(): void {
  const quiet = { report: () => {}, signal: new AbortController().signal };

  test("a worker's events arrive in order, then its result", async () => {
    const events: JobEvent[] = [];
    const report = (event: JobEvent) => void events.push(event);
    const result = await runInWorker(import.meta.url, "sum", { values: [1, 2, 3] }, { ...quiet, report });
    assert.deepEqual(result, { total: 6 });
    assert.deepEqual(
      events.map((event) => event.type === "progress" && event.done),
      [1, 2, 3],
    );
  });

  test("a Failure keeps its kind and hint; a defect keeps its name and stack", async () => {
    await assert.rejects(runInWorker(import.meta.url, "refuse", {}, quiet), (error) => {
      assert(error instanceof Failure);
      assert.equal(error.kind, "input");
      assert.equal(error.message, "tensor w has 3 values, expected 4");
      assert.equal(error.hint, "export it again");
      return true;
    });
    await assert.rejects(runInWorker(import.meta.url, "breakDown", {}, quiet), (error) => {
      assert(error instanceof Error && !(error instanceof Failure));
      assert.equal(error.name, "TypeError");
      assert.match(error.stack ?? "", /breakDown/);
      return true;
    });
  });

  for (const name of ["busy", "waiting"]) {
    test(`an abort stops a ${name} job with the signal's reason`, async () => {
      const controller = new AbortController();
      const reason = new Error("enough");
      const report = () => controller.abort(reason);
      await assert.rejects(
        runInWorker(import.meta.url, name, {}, { report, signal: controller.signal }),
        (error) => error === reason,
      );
    });
  }

  test("what cannot run is refused: a missing export, a worker that leaves, an aborted signal", async () => {
    await assert.rejects(runInWorker(import.meta.url, "absent", {}, quiet), /exports no function 'absent'/);
    await assert.rejects(runInWorker(import.meta.url, "leave", {}, quiet), /code 7 and without a result/);
    const reason = new Error("too late");
    await assert.rejects(
      runInWorker(import.meta.url, "sum", { values: [] }, { ...quiet, signal: AbortSignal.abort(reason) }),
      (error) => error === reason,
    );
  });
}
