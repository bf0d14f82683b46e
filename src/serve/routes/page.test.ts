import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { scriptedModel, startServer } from "../test-support.ts";

test("the page is one file that may run its own script and style alone, and talk to its server alone", async () => {
  const { url, ready } = await startServer({ model: scriptedModel("scripted"), apiKeys: ["key"] });
  await ready;
  const response = await fetch(`${url}/`);
  assert.equal(response.status, 200);
  const page = await response.text();
  const policy = response.headers.get("content-security-policy")!;
  for (const tag of ["style", 'script type="module"']) {
    const inside = new RegExp(`<${tag}>([^]*?)</${tag.split(" ")[0]}>`).exec(page)![1]!;
    assert.ok(inside.length > 1000);
    assert.ok(policy.includes(`'sha256-${createHash("sha256").update(inside).digest("base64")}'`), tag);
  }
  assert.match(policy, /default-src 'none'.*connect-src 'self'/);
  assert.doesNotMatch(page, /(src|href)="(?!data:)/);
  assert.doesNotMatch(page.replaceAll("http://www.w3.org/2000/svg", ""), /https?:/);
});
