// Serves one model over HTTP until it is told to stop.
import { load } from "../../engine/index.ts";
import type { LanguageModel } from "../../protocol/index.ts";
import { defaultPort, serve } from "../../serve/index.ts";
import { defineCommand } from "../command.ts";

export default defineCommand({
  summary: "Serve a model with an OpenAI-compatible API, on this machine alone.",
  usage: "lianlu serve MODEL [--port N] [--adapter DIR]",
  examples: [
    { command: "lianlu serve base --adapter adapter", help: "http://127.0.0.1:23333/v1, until Ctrl-C" },
    { command: "lianlu serve quantized --port 8080 --max-context 2048", help: "another port, a smaller cache" },
  ],
  positionals: { min: 1, max: 1, help: "a checkpoint or quantized directory, a .gguf file or a llama2.c .bin file" },
  options: {
    port: { type: "integer", min: 0, max: 65535, default: defaultPort, help: "port to listen on; 0 takes a free one" },
    host: { type: "string", default: "127.0.0.1", help: "address to listen on; there is no authentication" },
    adapter: { type: "string", placeholder: "DIR", help: "PEFT adapter to put beside the model" },
    tokenizer: { type: "string", placeholder: "PATH", help: "tokenizer, where it is not beside the model" },
    name: { type: "string", help: "the model's id for clients; else the last part of MODEL" },
    maxContext: { type: "integer", min: 1, placeholder: "TOKENS", help: "longest prompt plus answer" },
    maxRequests: {
      type: "integer",
      min: 1,
      max: 100_000,
      default: 128,
      help: "requests at once; more are answered 429",
    },
    threads: {
      type: "integer",
      min: 1,
      max: 256,
      help: "threads of the computation; else LIANLU_THREADS or all cores",
    },
  },
  async run({ options, positionals, signal, report }) {
    const { port, host, adapter, tokenizer, name, maxContext, maxRequests, threads } = options;
    // The port comes first: where it is taken, nothing needs to be loaded.
    const loading = Promise.withResolvers<LanguageModel>();
    loading.promise.catch(() => {});
    const server = await serve({
      model: loading.promise,
      port,
      host,
      maxRequests,
      onError: (error) => report({ type: "note", text: `A request failed: ${String(error)}` }),
    });
    let model: LanguageModel | undefined;
    const crash = Promise.withResolvers<never>();
    crash.promise.catch(() => {});
    try {
      model = await load(positionals[0]!, {
        worker: true,
        onNote: (text) => report({ type: "note", text }),
        onCrash: crash.reject,
        ...(adapter !== undefined && { adapter }),
        ...(tokenizer !== undefined && { tokenizer }),
        ...(name !== undefined && { id: name }),
        ...(maxContext !== undefined && { maxContext }),
        ...(threads !== undefined && { threads }),
      });
      loading.resolve(model);
      report({ type: "note", text: `${model.id} is served at ${server.url}/v1; Ctrl-C stops.` });
      await Promise.race([aborted(signal), crash.promise]);
    } catch (error) {
      loading.reject(error);
      throw error;
    } finally {
      await server.close();
      await model?.close();
    }
    return { url: server.url, model: model.id };
  },
});

/** Settles when the signal is aborted. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
