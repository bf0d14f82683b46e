// The quickstart's invariants: what must hold of every run, whatever the machine, each with its figures.
import { writeFileSync } from "node:fs";
import type { SourceLedger } from "../../src/corpus/index.ts";
import type { EvaluationReport, MetricComparison } from "../../src/evaluate/index.ts";
import type { Findings } from "./findings.ts";

export interface Invariant {
  name: string;
  holds: boolean;
  detail: string;
}

export interface Summary {
  minutes: number;
  seconds: number;
  budgetSeconds: number;
  invariants: Invariant[];
}

/** A quantized model may be worse than the float one by no more than this share of its perplexity. */
const mostPerplexityIncrease = { q8: 0.01, q4: 0.15 };

/** `files` are those of the report. */
export function summarise(findings: Findings, files: readonly { path: string; bytes: number }[]): Summary {
  const { minutes, seconds, budgetSeconds, poems, speeches, pretrain, finetune, quantized, served, agent } = findings;
  const form = comparisonOf(findings.after, "form");
  const losses = pretrain.curve.map(({ loss }) => loss);
  const [first, last] = [meanOf(losses.slice(0, 5)), meanOf(losses.slice(-5))];
  const invariants: Invariant[] = [
    balance("the ledger of the poems adds up", poems.ledger),
    balance("the ledger of the speeches adds up", speeches.ledger),
    {
      name: "the loss is finite and falls",
      holds: losses.length >= 10 && losses.every(Number.isFinite) && last < first,
      detail: `${first.toFixed(3)} -> ${last.toFixed(3)} over ${losses.length} steps`,
    },
    {
      name: "the model predicts better than single-token frequencies",
      holds: pretrain.validationLoss < pretrain.unigramLoss,
      detail: `${pretrain.validationLoss.toFixed(3)} against ${pretrain.unigramLoss.toFixed(3)} nats a token`,
    },
    {
      name: "fine-tuning lowers the loss on held-out instructions",
      holds: finetune.validationLoss < finetune.validationLossBefore,
      detail: `${finetune.validationLossBefore.toFixed(3)} -> ${finetune.validationLoss.toFixed(3)}`,
    },
    {
      name: "fine-tuning raises the share of quatrains in form by more than its interval",
      holds: form !== undefined && form.low > 0,
      detail:
        form === undefined
          ? "not compared"
          : `${percent(form.before)} -> ${percent(form.after)}, 95% of the difference from ${percent(form.low)}`,
    },
    ...(["q8", "q4"] as const).map((scheme): Invariant => {
      const increase = quantized[scheme].quality?.perplexityIncrease;
      return {
        name: `${scheme} costs at most ${percent(mostPerplexityIncrease[scheme])} of perplexity`,
        holds: increase !== undefined && increase <= mostPerplexityIncrease[scheme],
        detail: increase === undefined ? "not measured" : percent(increase),
      };
    }),
    {
      name: "the server streams a poem and stops cleanly",
      holds: served.chunks > 1 && served.poem.length > 0 && served.exitCode === 0 && agent.exitCode === 0,
      detail: `${served.chunks} pieces in ${Math.round(served.totalMs)} ms, exit codes ${served.exitCode} and ${agent.exitCode}`,
    },
    {
      name: "the agent has every draft checked by a tool call, and keeps what it found",
      holds:
        agent.toolCalls > 0 &&
        agent.toolCalls === agent.drafts.length &&
        agent.drafts.every(({ passed, faults }) => passed === (faults.length === 0)),
      detail: `${agent.toolCalls} tool calls, ${agent.drafts.length} drafts, ${agent.accepted} of ${agent.topics} topics accepted`,
    },
    {
      name: "the report is there",
      holds: files.length === 2 && files.every(({ bytes }) => bytes > 500),
      detail: files.map(({ path, bytes }) => `${path} ${bytes} bytes`).join(", "),
    },
    {
      name: "the whole keeps to its budget",
      holds: seconds <= budgetSeconds,
      detail: `${seconds.toFixed(0)} of ${budgetSeconds.toFixed(0)} seconds`,
    },
  ];
  return { minutes, seconds, budgetSeconds, invariants };
}

/** The comparison of the two evaluations in one metric of the quatrain task. */
export function comparisonOf(after: EvaluationReport, name: string): MetricComparison | undefined {
  return after.comparison?.metrics.find(({ task, metric }) => task === "quatrain" && metric.name === name);
}

export function writeSummary(path: string, summary: Summary): void {
  writeFileSync(path, `${JSON.stringify(summary, null, 2)}\n`);
}

function balance(name: string, { input, kept, quarantined, dropped }: SourceLedger): Invariant {
  const lost = Object.values(dropped).reduce((sum, count) => sum + count, 0);
  return {
    name,
    holds: input > 0 && input === kept + quarantined + lost,
    detail: `${input} = ${kept} kept + ${lost} dropped + ${quarantined} quarantined`,
  };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
