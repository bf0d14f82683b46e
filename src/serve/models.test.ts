import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServedModel } from "../protocol/index.ts";
import { createModels } from "./models.ts";
import { scriptedModel } from "./test-support.ts";

/** A source whose loads are counted, of models that say they take 1100 bytes. */
function source(id: string, load: (time: number) => Promise<ServedModel> = () => Promise.resolve(scriptedModel(id))) {
  const counted = { id, bytes: 1000, loads: 0, load: () => load(++counted.loads) };
  return counted;
}

test("requests that come together load a model once, and it stays", async () => {
  const a = source("a");
  const models = createModels([a]);
  const leases = await Promise.all([models.acquire("a"), models.acquire("a"), models.acquire("a")]);
  assert.equal(a.loads, 1);
  assert.equal(new Set(leases.map(({ model }) => model)).size, 1);
  for (const { release } of leases) release();
  (await models.acquire("a")).release();
  assert.equal(a.loads, 1);
  await assert.rejects(models.acquire("b"), { status: 404, message: /"a" is/ });
  await models.close();
});

test("a failed load is told, and the next request tries again", async () => {
  const a = source("a", (time) => (time < 3 ? Promise.reject(new Error("disk")) : Promise.resolve(scriptedModel("a"))));
  const models = createModels([a]);
  for (let tries = 0; tries < 2; tries++) {
    await assert.rejects(models.acquire("a"), { status: 503, message: /a could not be loaded: disk/ });
    assert.equal(models.list()[0]!.state, "failed");
  }
  (await models.acquire("a")).release();
  assert.equal(models.list()[0]!.state, "ready");
});

test("where memory is short the longest unused idle model goes, and never one that answers", async () => {
  const sources = ["a", "b", "c"].map((id) => source(id));
  const models = createModels(sources, 2200);
  const states = (): string =>
    models
      .list()
      .map(({ state }) => state[0])
      .join("");
  for (const id of ["a", "b", "a"]) (await models.acquire(id)).release();
  assert.equal(states(), "rru");
  const { model: old } = await models.acquire("b").then((lease) => (lease.release(), lease));
  (await models.acquire("a")).release();
  const c = await models.acquire("c");
  assert.equal(states(), "rur");
  assert.equal((old as ReturnType<typeof scriptedModel>).state.closed, true);
  const a = await models.acquire("a");
  await assert.rejects(models.acquire("b"), { status: 503, message: /Memory is taken/ });
  a.release();
  a.release();
  (await models.acquire("b")).release();
  assert.equal(states(), "urr");
  c.release();
  await models.close();
  assert.equal(states(), "uuu");
});

test("what is measured to be more than the limit is unloaded and refused with both numbers", async () => {
  const loaded = scriptedModel("a");
  const models = createModels([{ id: "a", bytes: 10, load: () => Promise.resolve(loaded) }], 500);
  await assert.rejects(models.acquire("a"), { status: 503, message: /It takes 0.0 MiB, and the limit/ });
  assert.equal(loaded.state.closed, true);

  // Two that look small beforehand and are not: the idle one goes when the other is measured.
  const pair = createModels(
    ["b", "c"].map((id) => ({ id, bytes: 1, load: () => Promise.resolve(scriptedModel(id)) })),
    1500,
  );
  for (const id of ["b", "c"]) (await pair.acquire(id)).release();
  assert.deepEqual(
    pair.list().map(({ state }) => state),
    ["unloaded", "ready"],
  );
});

test("a model that dies is loaded again by the next request, with its adapters", async () => {
  let die: (error: Error) => void = () => {};
  const loaded: ReturnType<typeof scriptedModel>[] = [];
  const models = createModels([
    {
      id: "a",
      load(onLost) {
        die = onLost;
        loaded.push(scriptedModel("a"));
        return Promise.resolve(loaded.at(-1)!);
      },
    },
  ]);
  await models.addAdapter("a", "verse", "/somewhere/verse");
  await assert.rejects(models.addAdapter("a", "bad", "/somewhere/broken"), /broken/);
  const lease = await models.acquire("a:verse");
  assert.equal(lease.adapter, "verse");
  lease.release();
  await assert.rejects(models.acquire("a:prose"), { status: 404 });
  await assert.rejects(models.addAdapter("a:verse", "more", "/somewhere/more"), { status: 404 });
  die(new Error("gone"));
  assert.equal(models.list()[0]!.state, "unloaded");
  (await models.acquire("a:verse")).release();
  assert.equal(loaded.length, 2);
  assert.deepEqual(models.list()[0]!.adapters, ["verse"]);
  // Also where it cannot be loaded any more, it can be taken away.
  die(new Error("gone"));
  await models.removeAdapter("a", "verse");
  await assert.rejects(models.acquire("a:verse"), { status: 404 });
  await assert.rejects(models.removeAdapter("a", "verse"), { status: 404 });
});
