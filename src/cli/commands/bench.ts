// Puts a load on a running server and says what it took, and whether every stream got its own answer.
import { Failure, runJob } from "../../protocol/index.ts";
import { defaultPort, loadTest, type LoadReport, type Percentiles } from "../../serve/index.ts";
import { defineCommand } from "../command.ts";

export default defineCommand({
  summary: "Measure a running server under load: time to first token, gaps, throughput, lost or mixed streams.",
  usage: "lianlu bench serve [--url URL] [--requests N] [--concurrency C] [--duration SECONDS]",
  examples: [
    { command: "lianlu bench serve --requests 100 --concurrency 8", help: "100 streams, 8 at once" },
    { command: "lianlu bench serve --concurrency 64 --duration 600", help: "64 streams at once for ten minutes" },
  ],
  positionals: { min: 1, max: 1, help: "serve" },
  options: {
    url: { type: "string", default: `http://127.0.0.1:${defaultPort}`, help: "the server's address" },
    model: { type: "string", placeholder: "NAME", help: "the model to ask; else the first that the server lists" },
    apiKey: { type: "string", placeholder: "KEY", help: "the server's key; else LIANLU_API_KEY" },
    requests: { type: "integer", min: 1, max: 10_000_000, default: 64, help: "streams in all" },
    concurrency: { type: "integer", min: 1, max: 10_000, default: 8, help: "streams at once" },
    promptTokens: { type: "integer", min: 4, max: 1_000_000, default: 64, help: "about how long each prompt is" },
    maxTokens: { type: "integer", min: 1, max: 1_000_000, default: 64, help: "how long each answer is" },
    duration: {
      type: "integer",
      min: 1,
      placeholder: "SECONDS",
      help: "go on for so long, instead of a number of streams",
    },
  },
  async run({ options, positionals, signal, report, print, json }) {
    if (positionals[0] !== "serve") {
      throw new Failure("usage", `there is no bench '${positionals[0]}'`, "Expected: serve.");
    }
    const { url, model, requests, concurrency, promptTokens, maxTokens, duration } = options;
    const apiKey = options.apiKey ?? process.env.LIANLU_API_KEY;
    const job = loadTest({
      url,
      requests,
      concurrency,
      promptTokens,
      maxTokens,
      signal,
      ...(model !== undefined && { model }),
      ...(apiKey && { apiKey }),
      ...(duration !== undefined && { durationSeconds: duration }),
    });
    const result = await runJob(job, report);
    print(format(result));
    if (result.lost + result.mixed === 0) return result;
    if (json) report({ type: "note", text: JSON.stringify(result) });
    throw new Failure(
      "numeric",
      `Of ${result.completed + result.lost} streams ${result.lost} were lost and ${result.mixed} were not their prompt's.`,
      Object.keys(result.failures)[0],
    );
  },
});

function format(report: LoadReport): string {
  const row = (name: string, { p50, p90, p99, max }: Percentiles): string =>
    `${name.padEnd(24)}${[p50, p90, p99, max].map((value) => value.toFixed(1).padStart(10)).join("")}`;
  const { serverBytes: bytes } = report;
  const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(0)} MiB`;
  return [
    `${report.model}: ${report.completed} streams, ${report.concurrency} at once, in ${report.seconds.toFixed(1)} s; ` +
      `${report.lost} lost, ${report.mixed} mixed, ${report.refused} times refused`,
    `${report.tokensPerSecond.toFixed(1)} tokens/s, ${report.requestsPerSecond.toFixed(2)} streams/s, ` +
      `${report.completionTokens} tokens written, ${report.promptTokens} read`,
    `${"milliseconds".padEnd(24)}${["p50", "p90", "p99", "most"].map((name) => name.padStart(10)).join("")}`,
    row("to the first token", report.firstTokenMs),
    row("between pieces", report.gapMs),
    row("whole answer", report.requestMs),
    ...(bytes
      ? [
          `server memory: ${mebibytes(bytes.start)} before, ${mebibytes(bytes.end)} after, ${mebibytes(bytes.most)} at most`,
        ]
      : []),
  ].join("\n");
}
