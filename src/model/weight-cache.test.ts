// Kept weights: found again to the bit, never trusted when anything about them or their source is not as it was.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels, type PackedWeight } from "../kernels/index.ts";
import { openWeightCache, type WeightCache, type WeightCacheOptions } from "./weight-cache.ts";

delete process.env["LIANLU_WEIGHT_CACHE"];
const kernels = loadKernels();
const root = mkdtempSync(join(tmpdir(), "lianlu-weights-"));
after(() => rmSync(root, { recursive: true }));

const [outputs, inputs] = [70, 64];
const floats = Float32Array.from({ length: outputs * inputs }, (_, i) => Math.sin(i));
const table = Uint8Array.from({ length: 1001 }, (_, i) => i);

/** One weight of each kind of storage, and plain bytes; how many had to be made. */
function ask(cache: WeightCache) {
  let made = 0;
  const count = <Result>(result: Result): Result => {
    made++;
    return result;
  };
  const words = new Uint16Array(floats.length);
  kernels.toBf16(words, floats);
  const blocks = new Uint8Array((floats.length / 32) * 34);
  kernels.quantize(blocks, floats, "q8_0");
  const weights = [
    cache.weight("dense", () => count(kernels.packWeight(floats, outputs, inputs))),
    cache.weight("half", () => count(kernels.packHalf(words, outputs, inputs, "bf16"))),
    cache.weight("low", () => count(kernels.packQuantized(blocks, outputs, inputs, "q8_0"))),
  ];
  const bytes = cache.bytes("table", () => count(table));
  return { made, bytes, weights, products: weights.map(multiply) };
}

function multiply(weight: PackedWeight): Float32Array {
  const out = new Float32Array(3 * outputs);
  kernels.matmulPacked(out, floats.subarray(0, 3 * inputs), weight, 3);
  return out;
}

let places = 0;
/** A source file and a directory for the cache, new for each test. */
function place() {
  const base = join(root, String(places++));
  mkdirSync(base);
  const source = join(base, "model.bin");
  writeFileSync(source, "weights");
  const directory = join(base, "cache");
  const openCache = (options: WeightCacheOptions = {}) =>
    openWeightCache(kernels, [source], { directory, minBytes: 0, ...options });
  const file = () =>
    join(
      directory,
      readdirSync(directory).find((name) => name.endsWith(".weights"))!,
    );
  return { base, source, directory, openCache, file };
}

async function fill(openCache: () => WeightCache) {
  const cache = openCache();
  const first = ask(cache);
  assert.equal(first.made, 4);
  assert.equal(await cache.save(), true);
  return first;
}

test("what was made once is found again, to the bit", async () => {
  const { openCache, directory } = place();
  const first = await fill(openCache);
  const cache = openCache();
  const second = ask(cache);
  assert.equal(second.made, 0);
  assert.deepEqual(second.products, first.products);
  assert.deepEqual(second.bytes, table);
  assert.equal(await cache.save(), false, "there is nothing new to keep");
  assert.equal(readdirSync(directory).length, 1);
});

test("once kept, weights in use lie in the mapped file, to the bit", async () => {
  const cache = place().openCache();
  const { weights, products } = ask(cache);
  const before = weights.map(({ data }) => data.buffer);
  await cache.save();
  const [mapped, ...others] = weights.map(({ data }) => data.buffer);
  assert.ok(!before.includes(mapped!));
  for (const other of others) assert.equal(other, mapped, "one mapping for all");
  assert.deepEqual(weights.map(multiply), products);
});

test("what is missing is made and kept beside the rest", async () => {
  const { openCache } = place();
  const small = openCache();
  small.bytes("table", () => table);
  await small.save();
  const cache = openCache();
  assert.equal(ask(cache).made, 3);
  assert.equal(await cache.save(), true);
  assert.equal(ask(openCache()).made, 0);
});

test("a source that changed, another variant, another order of sources: made again", async () => {
  const { openCache, source, base, directory } = place();
  await fill(openCache);
  assert.equal(ask(openCache({ variant: "other" })).made, 4);
  const second = join(base, "second.bin");
  writeFileSync(second, "more");
  assert.equal(ask(openWeightCache(kernels, [source, second], { directory, minBytes: 0 })).made, 4);
  utimesSync(source, 1000, 1000);
  await fill(openCache);
  appendFileSync(source, "!");
  await fill(openCache);
  assert.equal(readdirSync(directory).length, 1, "the file of the same model is replaced");
});

test("a source replaced by one of equal size and time: made again", async () => {
  const { openCache, source, base } = place();
  utimesSync(source, 1000, 1000);
  await fill(openCache);
  const other = join(base, "other.bin");
  writeFileSync(other, "WEIGHTS");
  utimesSync(other, 1000, 1000);
  renameSync(other, source);
  await fill(openCache);
});

test("other kernels have files of their own", async () => {
  const { openCache, source, directory } = place();
  await fill(openCache);
  const reference = openWeightCache(loadKernels("reference"), [source], { directory });
  let made = 0;
  reference.bytes("table", () => (made++, table));
  assert.equal(made, 1);
});

const damages: Record<string, (file: string) => void> = {
  "cut short": (file) => truncateSync(file, readFileSync(file).length - 1),
  "cut within the header": (file) => truncateSync(file, 60),
  "cut within the prefix": (file) => truncateSync(file, 20),
  empty: (file) => truncateSync(file, 0),
  "with more behind": (file) => appendFileSync(file, "x"),
};
for (const [name, damage] of Object.entries(damages)) {
  test(`a file that is ${name} is noticed and written again`, async () => {
    const { openCache, file } = place();
    await fill(openCache);
    damage(file());
    const again = openCache();
    assert.equal(ask(again).made, 4);
    assert.equal(await again.save(), true);
    assert.equal(ask(openCache()).made, 0);
  });
}

test("no byte of the header can change unnoticed", async () => {
  const { openCache, file } = place();
  await fill(openCache);
  const whole = readFileSync(file());
  const headerEnd = 48 + Number(whole.readBigUInt64LE(40));
  for (let at = 0; at < headerEnd; at += 7) {
    const changed = Buffer.from(whole);
    changed[at]! ^= 1 + (at % 255);
    writeFileSync(file(), changed);
    assert.equal(ask(openCache()).made, 4, `byte ${at}`);
  }
});

test("two processes that write at once leave one whole file", async () => {
  const { source, directory, openCache } = place();
  const script = `
    const { loadKernels } = await import(${JSON.stringify(new URL("../kernels/index.ts", import.meta.url).href)});
    const { openWeightCache } = await import(${JSON.stringify(new URL("./weight-cache.ts", import.meta.url).href)});
    const cache = openWeightCache(loadKernels(), [${JSON.stringify(source)}], { directory: ${JSON.stringify(directory)}, minBytes: 0 });
    let made = false;
    cache.bytes("table", () => ((made = true), new Uint8Array(3e6).fill(7)));
    if ((await cache.save()) !== made) process.exitCode = 1;`;
  const run = () =>
    new Promise<number | null>((resolve) =>
      spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" }).on("close", resolve),
    );
  assert.deepEqual(await Promise.all([run(), run()]), [0, 0]);
  assert.equal(readdirSync(directory).length, 1);
  const bytes = openCache().bytes("table", () => assert.fail("made again"));
  assert.deepEqual(new Uint8Array(bytes), new Uint8Array(3e6).fill(7));
});

test("a directory that cannot be written costs nothing but the keeping", async () => {
  const { source } = place();
  // Below a regular file nothing can be made, whoever asks.
  const cache = openWeightCache(kernels, [source], { directory: join(source, "cache"), minBytes: 0 });
  assert.equal(ask(cache).made, 4);
  assert.equal(await cache.save(), false);
});

test("the files used longest ago make room", async () => {
  const { base, directory } = place();
  // Two files of about 1.5 kB fit, three do not.
  const maxBytes = 4000;
  for (const name of ["a", "b", "c"]) writeFileSync(join(base, name), name);
  const keep = async (name: string) => {
    const cache = openWeightCache(kernels, [join(base, name)], { directory, maxBytes, minBytes: 0 });
    let made = false;
    cache.bytes("table", () => ((made = true), table));
    const saved = await cache.save();
    return { made, saved };
  };
  assert.deepEqual(await keep("a"), { made: true, saved: true });
  const [first] = readdirSync(directory);
  utimesSync(join(directory, first!), 1000, 1000);
  assert.deepEqual(await keep("b"), { made: true, saved: true });
  utimesSync(
    join(
      directory,
      readdirSync(directory).find((name) => name !== first)!,
    ),
    2000,
    2000,
  );
  // Found, so used now: the other one goes.
  assert.deepEqual(await keep("a"), { made: false, saved: false });
  assert.deepEqual(await keep("c"), { made: true, saved: true });
  assert.equal(readdirSync(directory).length, 2);
  assert.deepEqual(await keep("a"), { made: false, saved: false });
  assert.equal((await keep("b")).made, true);
});

test("more than the bound is not kept, and nothing goes for it", async () => {
  const { openCache, directory } = place();
  await fill(openCache);
  const cache = openCache({ variant: "large", maxBytes: 100 });
  ask(cache);
  assert.equal(await cache.save(), false);
  assert.equal(readdirSync(directory).length, 1);
});

test("a small model is not kept", async () => {
  const { openCache, base } = place();
  const cache = openCache({ minBytes: 2 ** 20 });
  ask(cache);
  assert.equal(await cache.save(), false);
  assert.deepEqual(readdirSync(base), ["model.bin"]);
});

test("LIANLU_WEIGHT_CACHE=off keeps nothing", async () => {
  const { openCache, base } = place();
  process.env["LIANLU_WEIGHT_CACHE"] = "off";
  try {
    const cache = openCache();
    assert.equal(ask(cache).made, 4);
    assert.equal(await cache.save(), false);
    assert.deepEqual(readdirSync(base), ["model.bin"]);
  } finally {
    delete process.env["LIANLU_WEIGHT_CACHE"];
  }
});

test("a name that comes twice is a defect", () => {
  const cache = place().openCache();
  cache.bytes("table", () => table);
  assert.throws(() => cache.bytes("table", () => table), /asked for twice/);
});
