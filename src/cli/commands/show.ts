import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { MANIFEST_NAME, readManifest, type Manifest } from "../../formats/manifest.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import { Failure } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";
import { formatBytes, formatNumber, formatSeconds, table } from "../ui/table.ts";
import { pad, truncate } from "../ui/width.ts";

/** Text reports that stages write for people, shown as they are. */
const textReports = ["report.txt", "retention.txt"];
const mostFiles = 20;
const mostValueColumns = 90;

export default defineCommand({
  summary: "Show what a directory is, what it was made from, and its figures.",
  usage: "lianlu show DIR",
  examples: [
    { command: "lianlu show corpus", help: "the ledger: what was kept, and what was dropped for which reason" },
    { command: "lianlu show base --json", help: "the manifest of a checkpoint, with its parameters counted" },
  ],
  positionals: { min: 1, max: 1, help: "a directory that Lianlu wrote, or a Hugging Face checkpoint or adapter" },
  options: {},
  async run({ positionals, print }) {
    const dir = positionals[0]!;
    if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw new Failure(
        "input",
        `${dir} is no directory`,
        "Give a directory, for example one that a lianlu command wrote.",
      );
    // Somebody else's checkpoint has no manifest and is welcome all the same.
    const manifest = existsSync(join(dir, MANIFEST_NAME)) ? readManifest(dir) : undefined;
    const weights = countWeights(dir);
    if (manifest === undefined && weights === undefined)
      throw new Failure(
        "input",
        `${dir} has no manifest.json and no weights`,
        "Give a directory that a lianlu command wrote, or a checkpoint.",
      );
    const sections = [
      manifest === undefined ? `${dir}: a checkpoint or adapter without a manifest` : describeManifest(dir, manifest),
      ...(weights === undefined ? [] : [describeWeights(weights)]),
      ...describeLedger(dir),
      ...textReports
        .filter((name) => existsSync(join(dir, name)))
        .map((name) => readFileSync(join(dir, name), "utf8").trimEnd()),
      ...(manifest === undefined ? [] : [describeFiles(manifest)]),
    ];
    print(sections.join("\n\n"));
    return { directory: dir, manifest: manifest ?? null, weights: weights ?? null };
  },
});

function describeManifest(dir: string, manifest: Manifest): string {
  const { kind, inputs, options, metrics, seed, codeVersion, createdAt, durationMs } = manifest;
  const lines = [
    `${dir}: ${kind}, made ${createdAt} in ${formatSeconds(durationMs / 1000)} by Lianlu ${codeVersion}, seed ${seed}`,
  ];
  const inputLines = Object.entries(inputs).map(
    ([name, { path, sha256 }]) => `  ${pad(name, 18)} ${path}  sha256 ${sha256.slice(0, 12)}`,
  );
  if (inputLines.length > 0) lines.push("", "Made from", ...inputLines);
  const optionLines = valueLines(options);
  if (optionLines.length > 0) lines.push("", "Options", ...optionLines);
  const metricLines = valueLines(metrics);
  if (metricLines.length > 0) lines.push("", "Figures", ...metricLines);
  return lines.join("\n");
}

/** One line a value; objects one level deep are spread as "a.b", deeper ones and lists are cut JSON. */
function valueLines(values: Record<string, unknown>): string[] {
  const flat = Object.entries(values).flatMap(([name, value]): [string, unknown][] =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.entries(value).map(([inner, deep]): [string, unknown] => [`${name}.${inner}`, deep])
      : [[name, value]],
  );
  const width = Math.max(0, ...flat.map(([name]) => name.length));
  return flat
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => {
      const text =
        typeof value === "number" ? formatNumber(value) : typeof value === "string" ? value : JSON.stringify(value);
      return `  ${pad(name, width)}  ${truncate(text, mostValueColumns)}`;
    });
}

interface Weights {
  file: string;
  parameters: number;
  bytes: number;
  tensors: number;
  dtypes: string[];
}

function countWeights(dir: string): Weights | undefined {
  const file = ["model.safetensors", "adapter_model.safetensors"].find((name) => existsSync(join(dir, name)));
  if (file === undefined) return undefined;
  const opened = openSafetensors(join(dir, file));
  try {
    const tensors = [...opened.tensors.values()];
    return {
      file,
      parameters: tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0),
      bytes: statSync(join(dir, file)).size,
      tensors: tensors.length,
      dtypes: [...new Set(tensors.map(({ dtype }) => dtype))].sort(),
    };
  } finally {
    opened.close();
  }
}

function describeWeights({ file, parameters, bytes, tensors, dtypes }: Weights): string {
  return `Weights  ${file}: ${formatNumber(parameters)} parameters in ${tensors} tensors of ${dtypes.join(", ")}, ${formatBytes(bytes)}`;
}

/** The corpus' ledger as two tables; nothing for other directories. */
function describeLedger(dir: string): string[] {
  const path = join(dir, "ledger.json");
  if (!existsSync(path)) return [];
  let ledger: { input: number; kept: number; quarantined: number; dropped: Record<string, number> };
  try {
    ledger = JSON.parse(readFileSync(path, "utf8")) as typeof ledger;
  } catch (error) {
    throw new Failure("input", `${path} is not JSON`, "Make the corpus again.", { cause: error });
  }
  const share = (count: number) => `${((100 * count) / Math.max(1, ledger.input)).toFixed(1)}%`;
  const rows = [
    ["input", ledger.input, share(ledger.input)] as const,
    ["kept", ledger.kept, share(ledger.kept)] as const,
    ...Object.entries(ledger.dropped).map(([reason, count]) => [`dropped: ${reason}`, count, share(count)] as const),
    ["quarantined", ledger.quarantined, share(ledger.quarantined)] as const,
  ];
  return [table(["Ledger", "documents", "share"], rows)];
}

function describeFiles({ files }: Manifest): string {
  const names = Object.keys(files);
  const rows = names.slice(0, mostFiles).map((name) => [name, formatBytes(files[name]!.bytes)] as const);
  const rest = names.length > mostFiles ? `\nand ${names.length - mostFiles} more` : "";
  return `${table(["File", "size"], rows)}${rest}`;
}
