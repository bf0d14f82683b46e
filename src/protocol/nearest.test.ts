import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "./nearest.ts";

test("the nearest name is one that could be meant", () => {
  assert.equal(nearest("ouput", ["out", "output", "threads"]), "output");
  assert.equal(nearest("dtaa", ["data", "show"]), "data");
  assert.equal(nearest("serve", ["chat", "show"]), undefined);
});
