// @ts-check
// `npm run check`: types, lint, format and layers, all of them even when one fails.
// `npm run fix` (--fix): lets the formatter and the linter mend what they can.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { checkLayers } from "./layers.mjs";
import { root } from "./setup.mjs";

/** @param {string} name @param {string[]} args @returns {Promise<{ ok: boolean, output: string }>} */
function tool(name, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(join(root, "node_modules", ".bin", name), args, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (piece) => (output += piece));
    child.on("error", reject);
    child.on("close", (code) => resolve({ ok: code === 0, output: output.trim() }));
  });
}

async function layers() {
  const { errors, files, imports } = checkLayers(root);
  return {
    ok: errors.length === 0,
    output: errors.length > 0 ? errors.join("\n") : `${imports} imports in ${files} files`,
  };
}

/** @type {Record<string, () => Promise<{ ok: boolean, output: string }>>} */
const checks = process.argv.includes("--fix")
  ? { lint: () => tool("oxlint", "--fix"), format: () => tool("oxfmt", ".") }
  : {
      types: () => tool("tsc", "--noEmit", "-p", root),
      lint: () => tool("oxlint", "--deny-warnings"),
      format: () => tool("oxfmt", "--check", "."),
      layers,
    };

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  const started = Date.now();
  const { ok, output } = await check();
  if (!ok) failed += 1;
  process.stdout.write(`${ok ? "ok    " : "FAILED"} ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)\n`);
  if (!ok || name === "layers") process.stdout.write(`${output.replaceAll(/^/gm, "       ")}\n`);
}
process.stdout.write(
  failed === 0 ? "All checks passed.\n" : `${failed} of ${Object.keys(checks).length} checks failed.\n`,
);
process.exitCode = failed === 0 ? 0 : 1;
