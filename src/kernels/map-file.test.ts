// Files mapped into memory: the bytes are the file's, writes stay private, and what cannot be mapped is named.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { mapFile } from "./index.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-map-"));
after(() => rmSync(directory, { recursive: true }));
const numbers = Uint8Array.from({ length: 10_001 }, (_, i) => i * 7);

for (const implementation of ["native", "reference"] as const) {
  const path = join(directory, implementation);

  test(`${implementation}: a file's bytes`, () => {
    writeFileSync(path, numbers);
    assert.deepEqual(mapFile(path, implementation), numbers);
    writeFileSync(path, "");
    assert.equal(mapFile(path, implementation).length, 0);
  });

  test(`${implementation}: what is written to the bytes does not reach the file`, () => {
    writeFileSync(path, numbers);
    const bytes = mapFile(path, implementation);
    bytes.fill(1);
    assert.equal(bytes[5000], 1);
    assert.deepEqual(new Uint8Array(readFileSync(path)), numbers);
  });

  test(`${implementation}: a file that is removed stays as it was mapped`, () => {
    writeFileSync(path, numbers);
    const bytes = mapFile(path, implementation);
    rmSync(path);
    assert.deepEqual(bytes, numbers);
  });

  test(`${implementation}: refusals name the path`, () => {
    const missing = join(directory, "missing");
    assert.throws(() => mapFile(missing, implementation), {
      name: "Failure",
      kind: "input",
      message: /missing: there is no/,
    });
    assert.throws(() => mapFile(directory, implementation), {
      name: "Failure",
      kind: "input",
      message: /not a regular file/,
    });
  });
}
