// `lianlu finetune inspect`: any example token by token with its mask, and what the data come to, before a step is run.
import { resolveModel } from "../../hub/index.ts";
import { Failure, runJob, type JobEvent } from "../../protocol/index.ts";
import {
  describePlace,
  inspectData,
  readStoredModel,
  type DataSource,
  type DataStatistics,
  type ExampleOptions,
  type Purpose,
  type RecordPlace,
} from "../../train/index.ts";
import { tokenizerOf } from "../../tokenizer/index.ts";
import { showExample, showTokens } from "../ui/show-example.ts";
import { formatNumber, table } from "../ui/table.ts";

export interface InspectCommandOptions {
  model: string;
  data: readonly DataSource[];
  examples: Omit<ExampleOptions, "maxLength" | "seed" | "signal"> & { maxLength?: number };
  batchTokens: number;
  accumulate: number;
  seed: number;
  purpose: Purpose;
  /** The example to print, counted from 0. */
  index: number;
  /** A line a token, with its id. */
  ids: boolean;
}

export interface InspectContext {
  signal: AbortSignal;
  report(event: JobEvent): void;
  print(text: string): void;
}

/** The example as data. */
export interface ShownItem {
  index: number;
  place: RecordPlace;
  parts: { name?: string; tokens: number[]; targets: number[]; text: string }[];
}

/** Prints statistics and one example, and returns both as data. */
export async function inspectCommand(
  { model, data, examples: shaping, batchTokens, accumulate, seed, purpose, index, ids }: InspectCommandOptions,
  { signal, report, print }: InspectContext,
): Promise<{ statistics: DataStatistics; example: ShownItem }> {
  const path = resolveModel(model);
  const tokenizer = tokenizerOf(path);
  const maxLength = Math.min(batchTokens, readStoredModel(path).config.maxPositions, shaping.maxLength ?? Infinity);
  const options = { ...shaping, maxLength, batchTokens, accumulate, seed, purpose, signal };
  const { examples, statistics } = await runJob(inspectData(tokenizer, data, options), report);
  const example = examples[index];
  if (example === undefined) {
    throw new Failure(
      "usage",
      `--index ${index}: there are ${examples.length} examples.`,
      `Give a number from 0 to ${examples.length - 1}.`,
    );
  }
  const style =
    process.stdout.isTTY && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb" ? "colours" : "plain";
  print(describeStatistics(statistics, maxLength, accumulate));
  const { place, parts } = example;
  const where = `Example ${index} of ${examples.length}: ${describePlace(place)}, read as ${place.format}`;
  for (const { name, example: part } of parts) {
    const learnt = part.targets.filter((target) => target >= 0).length;
    print(`\n${where}${name === "" ? "" : `, ${name}`}; ${part.tokens.length} tokens, ${learnt} learnt.\n`);
    print(ids ? showTokens(tokenizer, part, style) : showExample(tokenizer, part, style));
  }
  return {
    statistics,
    example: {
      index,
      place,
      parts: parts.map(({ name, example: { tokens, targets } }) => ({
        ...(name !== "" && { name }),
        tokens: [...tokens],
        targets: [...targets],
        text: tokenizer.decode(tokens, { controls: "write" }),
      })),
    },
  };
}

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
const bars = [..." ▁▂▃▄▅▆▇█"];

function describeStatistics(statistics: DataStatistics, maxLength: number, accumulate: number): string {
  const { sources, lengths, repeated, epoch } = statistics;
  const count = (number: number, one: string, many = `${one}s`): string =>
    `${formatNumber(number)} ${number === 1 ? one : many}`;
  const rows = sources.map((source) => [
    source.path,
    Object.entries(source.formats)
      .map(([name, records]) => `${name} ${formatNumber(records)}`)
      .join(", "),
    source.records,
    source.examples,
    source.tokens,
    percent(source.tokens === 0 ? 0 : source.trained / source.tokens),
    source.dropped,
    source.cut,
    source.untrained,
    source.bad,
  ]);
  const head = [
    "Source",
    "read as",
    "records",
    "examples",
    "tokens",
    "learnt",
    "too long",
    "cut",
    "nothing learnt",
    "bad",
  ];
  const most = Math.max(...lengths.histogram.map((bin) => bin.count));
  const line = lengths.histogram
    .map((bin) => bars[bin.count === 0 ? 0 : 1 + Math.floor((7.99 * bin.count) / most)])
    .join("");
  const lines = [
    table(head, rows),
    "",
    `Lengths     min ${formatNumber(lengths.min)}, median ${formatNumber(lengths.median)}, mean ${Math.round(lengths.mean)}, 95% ${formatNumber(lengths.p95)}, max ${formatNumber(lengths.max)}; at most ${formatNumber(maxLength)} are taken`,
    `            1 |${line}| ${formatNumber(lengths.histogram.at(-1)!.upTo)} tokens`,
    `Learnt      ${formatNumber(statistics.trained)} of ${count(statistics.tokens, "token")} (${percent(statistics.trainedShare)})`,
    `Repeated    ${count(repeated.examples, "example")}, ${count(repeated.prompts, "prompt")}; ${count(repeated.nearPrompts, "prompt")} nearly the same as another`,
    ...repeated.most.map(
      ({ prompt, count: times, place }) =>
        `            ${times} times ${JSON.stringify(prompt)} (first: ${describePlace(place)})`,
    ),
    ...(statistics.emptyAnswers > 0
      ? [`Empty       ${count(statistics.emptyAnswers, "example")} with an answer that says nothing`]
      : []),
    `An epoch    ${count(epoch.batches, "batch", "batches")}, ${percent(epoch.padding)} of them padding; ${count(epoch.steps, "step")}${accumulate === 1 ? "" : ` of ${accumulate} batches`}`,
  ];
  const bad = sources.flatMap(({ badReasons }) => badReasons);
  if (bad.length > 0) lines.push("Bad         " + bad.join("\n            "));
  return lines.join("\n");
}
