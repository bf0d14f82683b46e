// Writes the report: index.html, one page that needs nothing else, and the same as report.txt.
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatBytes, formatNumber, formatSeconds, table } from "../../src/cli/ui/table.ts";
import { environmentFailure } from "../../src/formats/manifest.ts";
import { reportPage } from "./report-page.ts";
import type { Findings } from "./findings.ts";
import { shellCommand } from "./lianlu-process.ts";
import { comparisonOf } from "./summary.ts";

/** Returns the text and the files that were written. */
export function writeReport(
  dir: string,
  findings: Findings,
): { text: string; files: { path: string; bytes: number }[] } {
  const text = reportText(findings);
  const contents = { "index.html": reportPage(findings), "report.txt": `${text}\n` };
  try {
    mkdirSync(dir, { recursive: true });
    const files = Object.entries(contents).map(([name, content]) => {
      const path = join(dir, name);
      writeFileSync(path, content);
      return { path, bytes: statSync(path).size };
    });
    return { text, files };
  } catch (error) {
    throw environmentFailure(error, dir);
  }
}

/** Three commands that work on what the quickstart made. */
export function nextCommands({ directories: dir }: Findings): { command: string; help: string }[] {
  return [
    { command: shellCommand(["chat", dir.q8]), help: "talk to the model: ask it for a poem" },
    {
      command: shellCommand(["agent", dir.tuned, "--topic", "秋夜", "--tries", "20"]),
      help: "one poem, rewritten until the rules hold",
    },
    { command: shellCommand(["show", dir.corpus]), help: "what is in a directory, and what it was made from" },
  ];
}

export const metricNames = ["form", "rhyme", "tones", "all"] as const;

export function quantizationRows({ quantized, pretrain }: Findings): [string, string, string, string, string][] {
  const { q8, q4 } = quantized;
  const rows = [q8, q4].map(
    ({ scheme, bytesAfter, bitsPerWeight, quality, worst }): [string, string, string, string, string] => [
      scheme,
      formatBytes(bytesAfter),
      bitsPerWeight.toFixed(2),
      quality === undefined
        ? ""
        : `${quality.perplexityAfter.toFixed(2)} (${signedPercent(quality.perplexityIncrease)})`,
      worst.name,
    ],
  );
  const float = q8.quality?.perplexityBefore.toFixed(2) ?? "";
  return [
    [`float, ${formatNumber(pretrain.parameters)} parameters`, formatBytes(q8.bytesBefore), "32", float, ""],
    ...rows,
  ];
}

function reportText(findings: Findings): string {
  const { poems, speeches, tokens, pretrain, finetune, before, after, served, agent } = findings;
  const perplexity = (report: typeof before) =>
    report.tasks.find(({ task }) => task === "perplexity")?.metrics.find(({ metric }) => metric.name === "perplexity");
  const verse = metricNames.flatMap((name) => {
    const found = comparisonOf(after, name);
    return found === undefined
      ? []
      : [
          [
            found.metric.title,
            percent(found.before),
            percent(found.after),
            `${percent(found.low)} to ${percent(found.high)}`,
            found.verdict,
          ],
        ];
  });
  const [perplexityBefore, perplexityAfter] = [perplexity(before), perplexity(after)];
  return [
    `Lianlu quickstart, ${findings.date.slice(0, 16).replace("T", " ")} UTC, Lianlu ${findings.lianlu}, ${findings.instructionSet} kernels, ${findings.threads} threads`,
    `${formatSeconds(findings.seconds)} of ${formatSeconds(findings.budgetSeconds)}`,
    "",
    table(
      ["Corpus", "records", "kept", "dropped", "quarantined", "characters"],
      [
        ["poems", ...ledgerCells(poems)],
        ["speeches", ...ledgerCells(speeches)],
      ],
    ),
    "",
    `Tokens       ${formatNumber(tokens.trainTokens)} for training, ${formatNumber(tokens.validationTokens)} held out; vocabulary ${formatNumber(tokens.vocabSize)}`,
    `Pre-training ${formatNumber(pretrain.parameters)} parameters, ${formatNumber(pretrain.steps)} steps, ${formatNumber(Math.round(pretrain.tokensPerSecond))} tokens/s`,
    `             ${pretrain.validationLoss.toFixed(3)} nats a token on held-out poems (trigram ${pretrain.trigramLoss.toFixed(3)}, unigram ${pretrain.unigramLoss.toFixed(3)})`,
    `Fine-tuning  ${formatNumber(finetune.steps)} steps, ${finetune.validationLossBefore.toFixed(3)} -> ${finetune.validationLoss.toFixed(3)} nats a token on held-out answers`,
    ...(perplexityBefore === undefined || perplexityAfter === undefined
      ? []
      : [
          `Perplexity   ${perplexityBefore.value.toFixed(1)} before fine-tuning, ${perplexityAfter.value.toFixed(1)} after`,
        ]),
    "",
    table(["Quatrains that keep", "before", "after", "95% of the difference", "verdict"], verse),
    "",
    table(["Weights", "size", "bits", "perplexity", "worst layer"], quantizationRows(findings)),
    "",
    `The server's poem (${served.chunks} pieces, the first after ${Math.round(served.firstPieceMs)} ms):`,
    ...served.poem
      .trim()
      .split("\n")
      .map((line) => `  ${line}`),
    "",
    `Agent        ${agent.accepted} of ${agent.topics} topics have a poem that keeps every rule, after ${agent.drafts.length} drafts (${agent.acceptedFirst} at once)`,
    "",
    "Try next:",
    ...nextCommands(findings).flatMap(({ command, help }) => [`  ${command}`, `      ${help}`]),
    "",
    `The report as a page: ${join(findings.directories.report, "index.html")}`,
  ].join("\n");
}

function ledgerCells({ ledger, characters }: Findings["speeches"]): number[] {
  return [ledger.input, ledger.kept, lost(ledger.dropped), ledger.quarantined, characters];
}

export function lost(dropped: Record<string, number>): number {
  return Object.values(dropped).reduce((sum, count) => sum + count, 0);
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}

function signedPercent(share: number): string {
  return `${share < 0 ? "" : "+"}${(100 * share).toFixed(2)}%`;
}
