// npm run bench [-- NAME... --json]: prints each row as it is measured. NAME is a file of benches/ or a part of a row's name.
import { readdirSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Bench, Row } from "./harness.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    threads: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const directory = join(import.meta.dirname, "benches");
const names = readdirSync(directory)
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3));

if (values.help) {
  console.log(`Usage: npm run bench -- [NAME...] [--json] [--threads 1,2]

NAME is one of ${names.join(", ")}, or a part of a row's name. Peers are measured in turn with us where they are installed;
a Python with torch is looked for in LIANLU_PYTHON. Example: npm run bench -- train --json`);
} else {
  const threads = values.threads?.split(",").map(Number) ?? (cpus().length > 1 ? [1, 2] : [1]);
  const note = (text: string): void => console.error(text);
  const files = positionals.filter((name) => names.includes(name));
  const parts = positionals.filter((name) => !names.includes(name));
  const wants = (name: string): boolean => parts.length === 0 || parts.some((part) => name.includes(part));
  if (!values.json) console.log(format(["row", "threads", "value", "", "peer", "peer's", "ratio", "limit", "share"]));
  for (const name of files.length > 0 ? files : names) {
    const { default: bench } = (await import(join(directory, `${name}.ts`))) as { default: Bench };
    for await (const measured of bench.rows({ threads, wants, note })) {
      console.log(values.json ? JSON.stringify(measured) : format(cells(measured)));
    }
  }
}

function cells({ name, threads, value, unit, peer, peerValue, ratio, limit, share }: Row): string[] {
  const number = (x: number | null): string => (x === null ? "" : x >= 100 ? x.toFixed(0) : x.toPrecision(3));
  return [
    name,
    String(threads),
    number(value),
    unit,
    peer ?? "",
    number(peerValue),
    ratio === null ? "" : `${ratio.toFixed(2)}x`,
    number(limit),
    share === null ? "" : `${(100 * share).toFixed(0)}%`,
  ];
}

function format(columns: readonly string[]): string {
  const widths = [44, 7, 9, 9, 18, 9, 7, 9, 6];
  return columns
    .map((text, index) => (index === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[index]!)))
    .join(" ");
}
