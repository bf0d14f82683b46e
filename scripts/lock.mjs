// @ts-check
// A lock file between processes of one machine: held while work runs, given up by whoever dies holding it.
// Not for several machines, and not for long waits: a waiter looks again a few times a second.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The holder touches its lock this often; a lock untouched for `staleMs` belongs to nobody. */
const heartbeatMs = 5_000;
const staleMs = 60_000;
const pollMs = 200;

/**
 * Runs `work` while holding the lock at `path`; waits for another holder, calling `onWait(pid)` once.
 * @template Result
 * @param {string} path
 * @param {() => Promise<Result>} work
 * @param {(pid: number) => void} [onWait]
 * @returns {Promise<Result>}
 */
export async function withLock(path, work, onWait = () => {}) {
  mkdirSync(dirname(path), { recursive: true });
  let told = false;
  while (!create(path)) {
    if (isAbandoned(path)) {
      breakLock(path);
      continue;
    }
    if (!told) onWait(holder(path) ?? 0);
    told = true;
    await sleep(pollMs);
  }
  const heartbeat = setInterval(() => touch(path), heartbeatMs);
  heartbeat.unref();
  const release = () => {
    if (holder(path) === process.pid) rmSync(path, { force: true });
  };
  process.once("exit", release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.removeListener("exit", release);
    release();
  }
}

/** True when this process now owns the file. @param {string} path */
function create(path) {
  try {
    const file = openSync(path, "wx");
    writeSync(file, `${process.pid}\n`);
    closeSync(file);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** @param {string} path @returns {number | undefined} */
function holder(path) {
  try {
    return Number.parseInt(readFileSync(path, "utf8"), 10) || undefined;
  } catch {
    return undefined; // released meanwhile
  }
}

/** @param {string} path */
function isAbandoned(path) {
  let ageMs;
  try {
    ageMs = Date.now() - statSync(path).mtimeMs;
  } catch {
    return false; // released meanwhile
  }
  if (ageMs > staleMs) return true;
  const pid = holder(path);
  // A file without a process id is being written at this moment, unless it stays so.
  if (pid === undefined) return ageMs > heartbeatMs;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return codeOf(error) === "ESRCH";
  }
}

/**
 * Removes an abandoned lock. Only the one who creates the second file may, so that two who saw the same
 * dead holder do not remove each other's new lock.
 * @param {string} path
 */
function breakLock(path) {
  const breaker = `${path}.break`;
  if (!create(breaker)) {
    if (isAbandoned(breaker)) rmSync(breaker, { force: true });
    return;
  }
  try {
    if (isAbandoned(path)) rmSync(path, { force: true });
  } finally {
    rmSync(breaker, { force: true });
  }
}

/** @param {string} path */
function touch(path) {
  const now = new Date();
  try {
    utimesSync(path, now, now);
  } catch {
    // The lock was taken away by hand: the work goes on, there is nothing to keep alive.
  }
}

/** @param {unknown} error @returns {string | undefined} */
function codeOf(error) {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}
