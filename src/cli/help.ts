// The text of --help, made from a command's own description.
import type { Command, OptionSpec } from "./command.ts";
import { commonOptions, describeValue, optionUsage } from "./parse.ts";
import { pad, wrap } from "./ui/width.ts";

/** Help of one verb. */
export function commandHelp(command: Command, columns: number): string {
  const { summary, usage, positionals, options, examples } = command;
  const sections = [`${summary}\n\nUsage: ${usage}`];
  if (positionals.max > 0) sections.push(wrap(`Arguments: ${positionals.help}`, columns, "  "));
  const rows = Object.entries({ ...options, ...commonOptions }).map(([key, spec]) => ({
    left: optionUsage(key, spec),
    right: [spec.help, limits(spec)].filter(Boolean).join(" "),
  }));
  sections.push(`Options:\n${twoColumns(rows, columns)}`);
  if (examples.length > 0)
    sections.push(`Examples:\n${examples.map(({ command: line, help }) => `  ${line}\n      ${help}`).join("\n")}`);
  return `${sections.join("\n\n")}\n`;
}

/** The list of verbs. */
export function overview(verbs: readonly { name: string; summary: string }[], columns: number): string {
  const rows = verbs.map(({ name, summary }) => ({ left: name, right: summary }));
  return `Lianlu: the whole life of a language model, from raw text to an agent.

Usage: lianlu VERB [ARGUMENT...] [--OPTION...]

${twoColumns(rows, columns)}

lianlu VERB --help shows a verb's options and examples.
Exit codes: 0 done, 1 a defect of Lianlu, 2 usage, 3 bad input, 4 disk, network or permission, 5 numbers that broke down, 130 interrupted.
`;
}

/** Default and range, as "(default 8; an integer between 1 and 64)". */
function limits(spec: OptionSpec): string {
  const parts = [];
  if (spec.required === true) parts.push("required");
  if (spec.type !== "strings" && spec.type !== "boolean" && spec.default !== undefined)
    parts.push(`default ${spec.default}`);
  if (spec.type === "integer" || spec.type === "number") parts.push(describeValue(spec));
  return parts.length === 0 ? "" : `(${parts.join("; ")})`;
}

function twoColumns(rows: readonly { left: string; right: string }[], columns: number): string {
  const width = Math.min(28, Math.max(...rows.map(({ left }) => left.length)));
  const indent = " ".repeat(width + 4);
  return rows
    .map(({ left, right }) => {
      const text = wrap(right, columns, indent, columns - indent.length);
      return left.length > width ? `  ${left}\n${indent}${text}` : `  ${pad(left, width)}  ${text}`;
    })
    .join("\n");
}
