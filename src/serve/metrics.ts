// What the server counts and times, in Prometheus' text format.
import type { EngineStatistics, Usage } from "../protocol/index.ts";

/** Upper bounds of the buckets, in seconds. */
const firstTokenBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const perTokenBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
const requestBounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

interface Histogram {
  observe(value: number): void;
  lines(name: string): string[];
}

function createHistogram(bounds: readonly number[]): Histogram {
  const counts = new Float64Array(bounds.length);
  let count = 0;
  let sum = 0;
  return {
    observe(value) {
      count += 1;
      sum += value;
      for (const [index, bound] of bounds.entries()) if (value <= bound) counts[index]! += 1;
    },
    lines: (name) => [
      ...bounds.map((bound, index) => `${name}_bucket{le="${bound}"} ${counts[index]}`),
      `${name}_bucket{le="+Inf"} ${count}`,
      `${name}_sum ${sum}`,
      `${name}_count ${count}`,
    ],
  };
}

export interface Metrics {
  /** A response has been sent, or its stream begun. */
  response(path: string, status: number): void;
  /** An answer has ended: what it took, and when it began, had its first token and ended, in milliseconds. */
  answer(usage: Usage, times: { begun: number; first: number; ended: number }): void;
  /** An answer ended before it was done: its client left, or it failed. */
  abandoned(): void;
  format(now: { inFlight: number; models: readonly { id: string; statistics: EngineStatistics }[] }): string;
}

export function createMetrics(): Metrics {
  const responses = new Map<string, number>();
  const firstToken = createHistogram(firstTokenBounds);
  const perToken = createHistogram(perTokenBounds);
  const request = createHistogram(requestBounds);
  const tokens = { prompt: 0, cached: 0, completion: 0 };
  let abandoned = 0;

  function format({ inFlight, models }: Parameters<Metrics["format"]>[0]): string {
    const lines: string[] = [];
    const put = (name: string, type: string, help: string, values: readonly string[]): void => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...values);
    };
    put("lianlu_requests_in_flight", "gauge", "Requests that are being answered or wait for their turn.", [
      `lianlu_requests_in_flight ${inFlight}`,
    ]);
    put(
      "lianlu_responses_total",
      "counter",
      "Responses by path and status.",
      [...responses].map(([labels, count]) => `lianlu_responses_total{${labels}} ${count}`),
    );
    put("lianlu_answers_abandoned_total", "counter", "Answers that ended before they were done.", [
      `lianlu_answers_abandoned_total ${abandoned}`,
    ]);
    put(
      "lianlu_tokens_total",
      "counter",
      "Tokens of finished answers.",
      Object.entries(tokens).map(([kind, count]) => `lianlu_tokens_total{kind="${kind}"} ${count}`),
    );
    for (const [name, help, histogram] of [
      ["lianlu_time_to_first_token_seconds", "From a request's arrival to its first token.", firstToken],
      ["lianlu_time_per_output_token_seconds", "Mean time between the tokens of an answer.", perToken],
      ["lianlu_request_seconds", "From a request's arrival to its answer's end.", request],
    ] as const) {
      put(name, "histogram", help, histogram.lines(name));
    }
    for (const { name, type, help, read } of engineFigures) {
      put(
        name,
        type,
        help,
        models.flatMap(({ id, statistics }) =>
          Object.entries(read(statistics)).map(
            ([labels, value]) => `${name}{model="${escapeLabel(id)}"${labels && `,${labels}`}} ${value}`,
          ),
        ),
      );
    }
    put("process_resident_memory_bytes", "gauge", "Resident memory of the server, in bytes.", [
      `process_resident_memory_bytes ${process.memoryUsage.rss()}`,
    ]);
    return `${lines.join("\n")}\n`;
  }

  return {
    response(path, status) {
      const labels = `path="${escapeLabel(path)}",status="${status}"`;
      responses.set(labels, (responses.get(labels) ?? 0) + 1);
    },
    answer({ promptTokens, completionTokens, cachedTokens = 0 }, { begun, first, ended }) {
      tokens.prompt += promptTokens;
      tokens.cached += cachedTokens;
      tokens.completion += completionTokens;
      firstToken.observe((first - begun) / 1000);
      if (completionTokens > 1) perToken.observe((ended - first) / 1000 / (completionTokens - 1));
      request.observe((ended - begun) / 1000);
    },
    abandoned() {
      abandoned += 1;
    },
    format,
  };
}

interface Figure {
  name: string;
  type: "gauge" | "counter";
  help: string;
  /** Values by further labels; "" for none. */
  read(statistics: EngineStatistics): Record<string, number>;
}

const engineFigures: readonly Figure[] = [
  {
    name: "lianlu_sequences",
    type: "gauge",
    help: "Sequences that run, and that wait for a place or for pages.",
    read: ({ running, waiting }) => ({ 'state="running"': running, 'state="waiting"': waiting }),
  },
  {
    name: "lianlu_kv_pages",
    type: "gauge",
    help: "Pages of the key-value cache: used by sequences, kept for reuse, free.",
    read: ({ pagesFree, pagesCached, pagesTotal }) => ({
      'state="used"': pagesTotal - pagesFree - pagesCached,
      'state="cached"': pagesCached,
      'state="free"': pagesFree,
    }),
  },
  {
    name: "lianlu_prompt_tokens_total",
    type: "counter",
    help: "Prompt tokens that the engine was asked for.",
    read: ({ promptTokens }) => ({ "": promptTokens }),
  },
  {
    name: "lianlu_prefix_hit_tokens_total",
    type: "counter",
    help: "Prompt tokens whose keys and values the cache held.",
    read: ({ cachedTokens }) => ({ "": cachedTokens }),
  },
  {
    name: "lianlu_generated_tokens_total",
    type: "counter",
    help: "Tokens that the engine has generated.",
    read: ({ generatedTokens }) => ({ "": generatedTokens }),
  },
  {
    name: "lianlu_preemptions_total",
    type: "counter",
    help: "Sequences that gave way to others and were computed again.",
    read: ({ preemptions }) => ({ "": preemptions }),
  },
  {
    name: "lianlu_draft_tokens_total",
    type: "counter",
    help: "Tokens that speculation proposed, and those that were right.",
    read: ({ draftedTokens, acceptedTokens }) => ({
      'outcome="proposed"': draftedTokens,
      'outcome="accepted"': acceptedTokens,
    }),
  },
  {
    name: "lianlu_model_bytes",
    type: "gauge",
    help: "Memory of weights and of the key-value cache.",
    read: ({ weightBytes, cacheBytes }) => ({ 'part="weights"': weightBytes, 'part="cache"': cacheBytes }),
  },
];

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
