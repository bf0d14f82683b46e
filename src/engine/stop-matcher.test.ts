import assert from "node:assert/strict";
import { test } from "node:test";
import { createStopMatcher } from "./stop-matcher.ts";

test("stop strings are found across pieces, and nothing is held back for good", () => {
  const matcher = createStopMatcher(["END", "\n\n"]);
  assert.deepEqual(matcher.push("some E"), { text: "some " });
  assert.deepEqual(matcher.push("N"), { text: "" });
  assert.deepEqual(matcher.push("X\n"), { text: "ENX" });
  assert.equal(matcher.end(), "\n");
  assert.deepEqual(matcher.push("a\n"), { text: "a" });
  assert.deepEqual(matcher.push("\nEND"), { text: "", stopped: "\n\n" });
});

test("the text ends alike however it is cut into pieces", () => {
  const texts = ["abcd", "xabcabcd", "aab😀c", "ab😀", "a\nbc", "bcbcd", "ab", ""];
  const stops = [["bc", "abcd"], ["abcd", "bc", "c"], ["😀"], ["b😀", "\n"], ["abc", "bc"], ["zz"]];
  for (const text of texts) {
    for (const stop of stops) {
      const results = new Set<string>();
      for (let cuts = 0; cuts < 2 ** Math.max(0, text.length - 1); cuts++) {
        const matcher = createStopMatcher(stop);
        let out = "";
        let stopped: string | undefined;
        let piece = "";
        for (let at = 0; at < text.length && stopped === undefined; at++) {
          piece += text[at]!;
          if (at < text.length - 1 && ((cuts >> at) & 1) === 0) continue;
          const found = matcher.push(piece);
          out += found.text;
          stopped = found.stopped;
          piece = "";
        }
        if (stopped === undefined) out += matcher.end();
        results.add(JSON.stringify([out, stopped]));
      }
      assert.equal(results.size, 1, `${text} with ${stop.join()}: ${[...results].join(" or ")}`);
    }
  }
});
