// Serves models over HTTP until it is told to stop.
import { readdirSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { load, type LoadOptions } from "../../engine/index.ts";
import { resolveModel, resolveWithAdapter } from "../../hub/index.ts";
import { Failure } from "../../protocol/index.ts";
import { defaultPort, serve, type ModelSource } from "../../serve/index.ts";
import { defineCommand } from "../command.ts";

const gibibyte = 2 ** 30;
const mebibyte = 2 ** 20;

export default defineCommand({
  summary: "Serve models with OpenAI's and Anthropic's APIs and a page to chat with, on this machine alone.",
  usage: "lianlu serve MODEL... [--port N] [--name NAME] [--api-key KEY]",
  examples: [
    { command: "lianlu serve base --adapter adapter", help: "http://127.0.0.1:23333/v1, until Ctrl-C" },
    { command: "lianlu serve quantized --port 8080 --max-context 2048", help: "another port, a smaller cache" },
    {
      command: "lianlu serve base quantized --name float --name small --memory-limit 8",
      help: "two models by name; the first is loaded now, the other when it is asked for",
    },
    {
      command: "lianlu serve base --host 0.0.0.0 --api-key secret --cors https://example.org",
      help: "for other machines, with a key, callable from a site's pages",
    },
  ],
  positionals: {
    min: 1,
    max: 64,
    help: "names of fetched models, checkpoint or quantized directories, .gguf files or llama2.c .bin files",
  },
  options: {
    port: { type: "integer", min: 0, max: 65535, default: defaultPort, help: "port to listen on; 0 takes a free one" },
    host: { type: "string", default: "127.0.0.1", help: "address to listen on; give --api-key where others reach it" },
    name: {
      type: "strings",
      help: "a model's id for clients, in the order of MODEL; else its fetched name or the last part of its path",
    },
    apiKey: {
      type: "strings",
      placeholder: "KEY",
      help: "a key that requests must give, or several; also LIANLU_API_KEYS, with commas between",
    },
    cors: { type: "strings", placeholder: "ORIGIN", help: "a site whose pages may call the server; * for any" },
    adapter: { type: "string", placeholder: "DIR", help: "PEFT adapter to put beside the one model" },
    adapters: { type: "string", placeholder: "DIR", help: "directory of adapters that may be loaded over HTTP" },
    tokenizer: { type: "string", placeholder: "PATH", help: "tokenizer, where it is not beside the one model" },
    maxContext: { type: "integer", min: 1, placeholder: "TOKENS", help: "longest prompt plus answer" },
    kvCache: {
      type: "choice",
      values: ["f32", "f16", "bf16", "int8", "int4"],
      default: "f16",
      help: "numbers of the key-value cache; int8 and int4 hold about twice and four times the tokens",
    },
    speculation: {
      type: "choice",
      values: ["none", "prompt-lookup"],
      default: "none",
      help: "guess tokens from the text so far; the answers are the same",
    },
    draft: { type: "string", placeholder: "MODEL", help: "a small model that guesses tokens for the one model" },
    memoryLimit: {
      type: "number",
      min: 0.001,
      placeholder: "GIB",
      help: "what loaded models may take together; the longest unused is unloaded for another",
    },
    maxRequests: {
      type: "integer",
      min: 1,
      max: 100_000,
      default: 128,
      help: "requests at once; more are answered 429",
    },
    maxBody: { type: "number", min: 0.001, max: 1024, default: 8, placeholder: "MIB", help: "longest request body" },
    requestTimeout: {
      type: "number",
      min: 0.1,
      max: 1_000_000,
      default: 600,
      placeholder: "SECONDS",
      help: "longest time that a request may take",
    },
    threads: {
      type: "integer",
      min: 1,
      max: 256,
      help: "threads of the computation; else LIANLU_THREADS or all cores",
    },
  },
  async run({ options, positionals, signal, report }) {
    const { port, host, adapter, adapters, tokenizer, draft, maxContext, threads, memoryLimit } = options;
    const note = (text: string): void => report({ type: "note", text });
    const found = positionals.map((each) => resolveWithAdapter(each));
    const paths = found.map(({ path }) => path);
    const [alone] = Object.entries({ adapter, tokenizer, draft }).find(([, value]) => value !== undefined) ?? [];
    if (paths.length > 1 && alone !== undefined) {
      throw new Failure(
        "usage",
        `--${alone} is for one model, and ${paths.length} are given.`,
        "Serve the model alone, or load adapters by name with --adapters.",
      );
    }
    const named = found.map(({ path, adapter: own }) => own ?? path);
    const names = nameModels(positionals, named, options.name);
    const models = paths.map((path, index) =>
      modelSource(path, names[index]!, note, {
        ...adapterOf(adapter ?? found[index]!.adapter),
        ...(tokenizer !== undefined && { tokenizer }),
        ...(maxContext !== undefined && { maxContext }),
        ...(threads !== undefined && { threads }),
        kvCache: options.kvCache,
        speculation: draft === undefined ? options.speculation : { draft: resolveModel(draft) },
      }),
    );
    // The port comes first: where it is taken, nothing needs to be loaded.
    const server = await serve({
      models,
      port,
      host,
      apiKeys: [...options.apiKey, ...(process.env.LIANLU_API_KEYS ?? "").split(",")]
        .map((key) => key.trim())
        .filter((key) => key !== ""),
      corsOrigins: options.cors,
      maxRequests: options.maxRequests,
      maxBodyBytes: Math.floor(options.maxBody * mebibyte),
      requestMilliseconds: options.requestTimeout * 1000,
      ...(memoryLimit !== undefined && { memoryLimit: memoryLimit * gibibyte }),
      ...(adapters !== undefined && { adaptersRoot: adapters }),
      onError: (error) =>
        note(`A request failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
    });
    try {
      await Promise.race([server.ready, aborted(signal)]);
      if (!signal.aborted) note(`${names.join(", ")} is served at ${server.url}/v1; Ctrl-C stops.`);
      await aborted(signal);
    } finally {
      await server.close();
    }
    return { url: server.url, model: names[0] };
  },
});

function adapterOf(adapter: string | undefined): { adapter?: string } {
  return adapter === undefined ? {} : { adapter };
}

/** What each model is called. Throws Failure("usage") where two have one name. */
function nameModels(asked: readonly string[], paths: readonly string[], given: readonly string[]): string[] {
  if (given.length > paths.length) {
    throw new Failure(
      "usage",
      `--name is given ${given.length} times for ${paths.length} models.`,
      "Give one for each.",
    );
  }
  // A fetched model has a name already.
  const names = paths.map(
    (path, index) => given[index] ?? (asked[index] === path ? basename(resolve(path)) : asked[index]!),
  );
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return names;
  throw new Failure("usage", `Two models are named ${twice}.`, "Give each a --name of its own, in their order.");
}

function modelSource(
  path: string,
  id: string,
  note: (text: string) => void,
  options: Pick<LoadOptions, "adapter" | "tokenizer" | "maxContext" | "threads" | "kvCache" | "speculation">,
): ModelSource {
  return {
    id,
    bytes: bytesOf(path),
    load: (onLost) =>
      load(path, {
        ...options,
        id,
        worker: true,
        onNote: note,
        onCrash(error) {
          note(`${id} was lost and will be loaded again at its next request: ${error.message}`);
          onLost(error);
        },
      }),
  };
}

/** Size on disk, of which the weights are nearly all. */
function bytesOf(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isDirectory()) return stat?.size ?? 0;
  return readdirSync(path).reduce(
    (sum, name) => sum + (statSync(join(path, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** Settles when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((settle) => {
    if (signal.aborted) settle();
    signal.addEventListener("abort", () => settle(), { once: true });
  });
}
