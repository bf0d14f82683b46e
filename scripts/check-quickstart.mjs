// @ts-check
// Asserts the invariants that a quickstart wrote into its summary.json; exits with 1 where one does not hold.
// Usage: node scripts/check-quickstart.mjs runs/quickstart/summary.json
import { readFileSync } from "node:fs";

const path = process.argv[2];
if (path === undefined) {
  process.stderr.write("Usage: node scripts/check-quickstart.mjs SUMMARY.json\n");
  process.exit(2);
}
/** @type {{ invariants: { name: string, holds: boolean, detail: string }[] }} */
const { invariants } = JSON.parse(readFileSync(path, "utf8"));
for (const { name, holds, detail } of invariants) {
  process.stdout.write(`${holds ? "ok    " : "FAILED"} ${name}: ${detail}\n`);
}
const failed = invariants.filter(({ holds }) => !holds).length;
process.stdout.write(`${invariants.length - failed} of ${invariants.length} invariants hold.\n`);
process.exitCode = failed === 0 && invariants.length > 0 ? 0 : 1;
