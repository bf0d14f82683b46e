#!/usr/bin/env node
// @ts-check
// The command `lianlu`: makes sure of the set-up, then hands over to src/cli/main.ts under Node 24.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exitWith, runNode } from "./node-process.mjs";
import { root, setupForCommand } from "./setup.mjs";

const main = join(root, "src", "cli", "main.ts");

await exitWith(async () => {
  const args = process.argv.slice(2);
  const { node } = await setupForCommand(args);
  if (node !== process.execPath) return await runNode(node, [main, ...args]);
  process.argv[1] = main;
  await import(pathToFileURL(main).href);
  return undefined; // main.ts has set the exit code
});
