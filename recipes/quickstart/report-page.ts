// The report as one HTML page: no script, no font, no picture from elsewhere; light or dark as the reader has it.
import { formatNumber, formatSeconds } from "../../src/cli/ui/table.ts";
import { escapeHtml, lineChart, shareChart } from "./charts.ts";
import type { CurvePoint, Findings } from "./findings.ts";
import { stepSummaries, stepTitles } from "./plan.ts";
import { lost, metricNames, nextCommands, percent, quantizationRows } from "./report.ts";
import { comparisonOf } from "./summary.ts";

/** Drafts of the agent that are shown. */
const mostDrafts = 12;
/** Width of a section's inside: a whole one, and one of a pair. */
const wide = 994;
const half = 466;

const style = `
:root{color-scheme:light dark;--back:#fbfaf7;--card:#fff;--ink:#1c1b19;--soft:#6a6660;--line:#e4e0d8;--series-1:#b3402a;--series-2:#2f6f8f;--series-3:#9a8f7d;--good:#2d7a4b}
@media(prefers-color-scheme:dark){:root{--back:#161514;--card:#201e1c;--ink:#ece8e1;--soft:#a39c92;--line:#36322e;--series-1:#e8836b;--series-2:#7db8d6;--series-3:#8d8474;--good:#7cc796}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI","PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC","Noto Sans SC",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:19px;margin:0 0 4px}
.soft{color:var(--soft)}p{margin:4px 0 12px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:24px 0}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tile{padding:14px 16px}.tile b{display:block;font-size:21px;line-height:1.4;white-space:nowrap}
section{padding:20px 22px;margin:16px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:16px}.pair section{margin:0}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{white-space:pre-wrap;word-break:break-word;margin:0}
svg,img{width:100%;height:auto;display:block}
svg text{fill:var(--ink);font-size:12px;font-family:inherit}svg .tick{fill:var(--soft)}svg .axis{fill:var(--soft)}
svg .grid{stroke:var(--line)}svg .level{stroke:var(--soft);stroke-dasharray:5 4}
.poem{font:22px/1.9 "Songti SC","Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;letter-spacing:.12em;white-space:pre-line;margin:8px 0}
.draft{font-family:"Songti SC","Noto Serif CJK SC","Source Han Serif SC",SimSun,serif;font-size:16px}
.ok{color:var(--good);font-weight:600}.key{display:inline-block;width:10px;height:10px;border-radius:50%;margin:0 6px 0 12px}
`;

/** The whole page. */
export function reportPage(findings: Findings): string {
  const { pretrain, after, served, agent } = findings;
  const form = comparisonOf(after, "form");
  const tiles: [string, string][] = [
    [formatNumber(pretrain.parameters), "parameters, trained from scratch"],
    [pretrain.validationLoss.toFixed(2), `nats a token; a trigram model has ${pretrain.trigramLoss.toFixed(2)}`],
    [form === undefined ? "" : `${percent(form.before)} → ${percent(form.after)}`, "quatrains in form, by fine-tuning"],
    [`${agent.accepted} of ${agent.topics}`, "topics with a poem that keeps every rule"],
    [formatSeconds(findings.seconds), `of a budget of ${formatSeconds(findings.budgetSeconds)}`],
  ];
  const sections = [
    `<div class="pair">${corpusSection(findings)}${tokensSection(findings)}</div>`,
    trainingSection(findings),
    `<div class="pair">${finetuneSection(findings)}${evaluationSection(findings)}</div>`,
    quantizationSection(findings),
    `<div class="pair">${section(7, `<p class="soft">${escapeHtml(served.request)} · ${served.chunks} pieces, the first after ${Math.round(served.firstPieceMs)} ms</p><p class="poem" lang="zh">${escapeHtml(served.poem.trim())}</p>`)}${nextSection(findings)}</div>`,
    agentSection(findings),
    commandsSection(findings),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lianlu: from raw text to an agent</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>链路 Lianlu</h1>
<p class="soft">From raw text to an agent, on this machine, on ${findings.date.slice(0, 10)}. Lianlu ${escapeHtml(findings.lianlu)}, ${escapeHtml(findings.instructionSet)} kernels, ${findings.threads} threads.</p>
<div class="tiles">${tiles.map(([figure, label]) => `<div class="tile"><b>${escapeHtml(figure)}</b><span class="soft">${escapeHtml(label)}</span></div>`).join("")}</div>
${sections.join("\n")}
</main>
</body>
</html>
`;
}

function section(step: number, body: string): string {
  return `<section><h2>${step}. ${stepTitles[step - 1]}</h2><p class="soft">${stepSummaries[step - 1]}</p>${body}</section>`;
}

function corpusSection({ poems, speeches }: Findings): string {
  const rows = (["poems", "speeches"] as const).map((name) => {
    const { ledger, characters } = { poems, speeches }[name];
    return [name, ledger.input, ledger.kept, lost(ledger.dropped), ledger.quarantined, characters];
  });
  const picture = `data:image/svg+xml;base64,${Buffer.from(poems.retentionSvg).toString("base64")}`;
  return section(
    1,
    `<img alt="Share of the poems kept after each step" src="${picture}">${htmlTable(["", "records", "kept", "dropped", "quarantined", "characters"], rows)}`,
  );
}

function tokensSection({ tokens, poems }: Findings): string {
  const reasons = Object.entries(poems.ledger.dropped).map(([reason, count]) => [reason, count]);
  return section(
    2,
    `${htmlTable(
      ["Tokens", ""],
      [
        ["vocabulary", tokens.vocabSize],
        ["for training", tokens.trainTokens],
        ["held out", tokens.validationTokens],
        ["characters a token", tokens.charactersPerToken],
      ],
    )}<p class="soft" style="margin-top:20px">Why poems were dropped before</p>${htmlTable(["rule", "poems"], reasons)}`,
  );
}

function trainingSection({ pretrain }: Findings): string {
  const chart = lineChart({
    title: "Loss of pre-training",
    width: wide,
    xLabel: "step",
    yLabel: "nats a token",
    series: lossSeries(pretrain.curve),
    levels: [
      { name: "unigram", y: pretrain.unigramLoss },
      { name: "trigram", y: pretrain.trigramLoss },
    ],
  });
  const figures = `${formatNumber(pretrain.steps)} steps at ${formatNumber(Math.round(pretrain.tokensPerSecond))} tokens/s; ${pretrain.validationLoss.toFixed(3)} nats a token on held-out poems.`;
  return section(3, `<p>${figures}</p>${chart}`);
}

function lossSeries(curve: readonly CurvePoint[]) {
  return [
    { name: "training", color: "series-3", points: curve.map(({ step, loss }) => [step, loss] as const) },
    {
      name: "held out",
      color: "series-1",
      points: curve.flatMap(({ step, validationLoss }) =>
        validationLoss === undefined ? [] : [[step, validationLoss] as const],
      ),
    },
  ];
}

function finetuneSection({ finetune }: Findings): string {
  const chart = lineChart({
    title: "Loss of fine-tuning",
    width: half,
    xLabel: "step",
    yLabel: "nats a token of the answers",
    series: lossSeries(finetune.curve),
  });
  return section(
    4,
    `<p>${finetune.validationLossBefore.toFixed(3)} → ${finetune.validationLoss.toFixed(3)} nats a token on held-out answers.</p>${chart}`,
  );
}

function evaluationSection({ before, after }: Findings): string {
  const shares = metricNames.flatMap((name) => {
    const metricOf = (report: typeof before) =>
      report.tasks.find(({ task }) => task === "quatrain")?.metrics.find(({ metric }) => metric.name === name);
    const [earlier, later] = [metricOf(before), metricOf(after)];
    return earlier === undefined || later === undefined ? [] : [{ name, before: earlier, after: later }];
  });
  const rows = (after.comparison?.metrics ?? []).map(({ metric, before: from, after: to, low, high, verdict }) => {
    const figure = (value: number) => (metric.kind === "share" ? percent(value) : value.toFixed(2));
    return [metric.title, figure(from), figure(to), `${figure(low)} to ${figure(high)}`, verdict];
  });
  return section(
    5,
    `<p class="soft">Quatrains that keep each rule, with 95% intervals:<span class="key" style="background:var(--series-3)"></span>before<span class="key" style="background:var(--series-1)"></span>after</p>` +
      `${shareChart("Quatrains that keep each rule, before and after fine-tuning", half, shares)}${htmlTable(["", "before", "after", "95% of the difference", ""], rows)}`,
  );
}

function quantizationSection(findings: Findings): string {
  return section(
    6,
    htmlTable(["weights", "size", "bits a weight", "perplexity", "worst layer"], quantizationRows(findings)),
  );
}

function agentSection({ agent }: Findings): string {
  const rows = agent.drafts
    .slice(0, mostDrafts)
    .map(
      ({ topic, attempt, poem, passed, faults }) =>
        `<tr><td lang="zh">${escapeHtml(topic)}</td><td class="n">${attempt}</td><td class="draft" lang="zh">${escapeHtml(poem.replaceAll("\n", " "))}</td><td>${passed ? '<span class="ok">keeps every rule</span>' : escapeHtml(faults[0]?.english ?? "")}</td></tr>`,
    )
    .join("");
  const more =
    agent.drafts.length > mostDrafts ? `<p class="soft">and ${agent.drafts.length - mostDrafts} drafts more</p>` : "";
  return section(
    8,
    `<p>${agent.drafts.length} drafts, each checked by a tool call; ${agent.accepted} of ${agent.topics} topics accepted, ${agent.acceptedFirst} at once.</p><div class="scroll"><table><tr><th>topic</th><th class="n">draft</th><th>poem</th><th>checker</th></tr>${rows}</table></div>${more}`,
  );
}

function nextSection(findings: Findings): string {
  const items = nextCommands(findings).map(
    ({ command, help }) => `<pre>${escapeHtml(command)}</pre><p class="soft">${escapeHtml(help)}</p>`,
  );
  return `<section><h2>Try next</h2>${items.join("")}</section>`;
}

function commandsSection({ commands }: Findings): string {
  const rows = commands
    .map(
      ({ link, command, seconds }) =>
        `<tr><td>${link}</td><td><code>${escapeHtml(command)}</code></td><td class="n">${formatSeconds(seconds)}</td></tr>`,
    )
    .join("");
  return `<section><h2>The commands</h2><div class="scroll"><table><tr><th>link</th><th>command</th><th class="n">time</th></tr>${rows}</table></div></section>`;
}

function htmlTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cell = (tag: string, value: string | number, isNumber: boolean) =>
    `<${tag}${isNumber ? ' class="n"' : ""}>${escapeHtml(typeof value === "number" ? formatNumber(value) : value)}</${tag}>`;
  const numeric = head.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === "number"));
  const line = (tag: string, row: readonly (string | number)[]) =>
    `<tr>${row.map((value, column) => cell(tag, value, numeric[column]!)).join("")}</tr>`;
  return `<div class="scroll"><table>${line("th", head)}${rows.map((row) => line("td", row)).join("")}</table></div>`;
}
