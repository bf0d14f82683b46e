// The text of a configuration file: what was carried over as an object, and what was not as comments above it.
import { basename } from "node:path";
import type { ImportedConfig } from "./draft.ts";

const width = 120;

/** The source of a training.config.ts. */
export function writeConfiguration({ tool, draft, notes }: ImportedConfig, path: string): string {
  const comments = [
    `From ${basename(path)} of ${tool}.${notes.length === 0 ? "" : " Not carried over, or not quite:"}`,
    ...notes.map(({ name, reason }) => `- ${name}: ${reason}`),
  ];
  return [
    ...comments.map((line) => `// ${line.replaceAll(/\s+/g, " ").trimEnd()}`),
    'import { defineTraining } from "lianlu/flywheel";',
    "",
    `export default defineTraining(${source(draft, "")});`,
    "",
  ].join("\n");
}

/** A value as source: on one line where it fits. */
function source(value: unknown, indent: string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined";
  const entries = Array.isArray(value)
    ? value.map((item) => (deeper: string) => source(item, deeper))
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(
          ([key, item]) =>
            (deeper: string) =>
              `${keyOf(key)}: ${source(item, deeper)}`,
        );
  const [open, close, space] = Array.isArray(value) ? ["[", "]", ""] : ["{", "}", " "];
  if (entries.length === 0) return `${open}${close}`;
  const line = `${open}${space}${entries.map((entry) => entry(indent)).join(", ")}${space}${close}`;
  // The whole object stands on lines of its own.
  if (indent !== "" && !line.includes("\n") && line.length + indent.length < width - 24) return line;
  const deeper = `${indent}  `;
  return `${open}\n${entries.map((entry) => `${deeper}${entry(deeper)},\n`).join("")}${indent}${close}`;
}

const keyOf = (key: string): string => (/^[A-Za-z_$][\w$]*$/.test(key) ? key : JSON.stringify(key));
