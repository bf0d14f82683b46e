// @ts-check
// What stands behind `npm run NAME`: makes sure of the set-up, then runs the thing with Node 24.
// Usage: node scripts/run.mjs setup | quickstart | test | check | fix | bench | lianlu [ARGUMENT...]
import { statSync } from "node:fs";
import { join } from "node:path";
import { root, setup, setupForCommand } from "./setup.mjs";
import { exitWith, runNode } from "./node-process.mjs";

const [name = "", ...args] = process.argv.slice(2);

/** @type {Record<string, { native: boolean, run: (node: string) => Promise<number> }>} */
const targets = {
  setup: { native: true, run: async () => (process.stderr.write("The set-up is complete.\n"), 0) },
  quickstart: { native: true, run: (node) => runNode(node, [join(root, "recipes/quickstart/main.ts"), ...args]) },
  test: { native: true, run: test },
  check: { native: false, run: (node) => runNode(node, [join(root, "scripts/check.mjs")]) },
  fix: { native: false, run: (node) => runNode(node, [join(root, "scripts/check.mjs"), "--fix"]) },
  bench: { native: true, run: (node) => runNode(node, [join(root, "bench/main.ts"), ...args]) },
  // npm moves to the package's folder; paths are meant from where the reader is.
  lianlu: {
    native: true,
    run: (node) =>
      runNode(node, [join(root, "src/cli/main.ts"), ...args], { cwd: process.env.INIT_CWD ?? process.cwd() }),
  },
};

/**
 * Runs all tests, or those of the files and folders named; other arguments go to `node --test`.
 * @param {string} node
 */
function test(node) {
  const options = args.filter((argument) => argument.startsWith("-"));
  const places = args.filter((argument) => !argument.startsWith("-")).map(toPattern);
  const patterns = places.length > 0 ? places : ["src/**/*.test.ts", "scripts/**/*.test.ts", "recipes/**/*.test.ts"];
  const flags = ["--test", "--test-concurrency=2", "--test-reporter=spec", ...options];
  // A test sees no setting of the reader's shell, so that it passes or fails for everyone alike;
  // LIANLU_PYTHON only says where PyTorch is, for the tests that compare with it.
  const clean = Object.entries(process.env).filter(([key]) => !/^(LIANLU_(?!PYTHON$)|NODE_)/.test(key));
  return runNode(node, [...flags, ...patterns], { cwd: root, env: Object.fromEntries(clean) });
}

/** @param {string} place */
function toPattern(place) {
  return statSync(place, { throwIfNoEntry: false })?.isDirectory() ? join(place, "**/*.test.ts") : place;
}

const target = targets[name];
if (target === undefined) {
  process.stderr.write(`Unknown: '${name}'. Expected one of: ${Object.keys(targets).join(", ")}.\n`);
  process.exitCode = 2;
} else {
  await exitWith(async () => {
    const { node } = await (name === "lianlu" ? setupForCommand(args) : setup({ native: target.native }));
    return await target.run(node);
  });
}
