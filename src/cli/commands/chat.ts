// Talks to a model in the terminal: a dialogue, lines from a pipe, or one prompt.
import { createInterface } from "node:readline";
import { Failure, type Message } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";
import { openModel } from "../open-model.ts";
import { withoutControls } from "../ui/controls.ts";

export default defineCommand({
  summary: "Talk to a model; /clear forgets the dialogue, /exit leaves.",
  usage: "lianlu chat MODEL|URL [--adapter DIR] [--system TEXT] [--prompt TEXT]",
  examples: [
    { command: "lianlu chat base --adapter adapter", help: "a dialogue; Ctrl-C stops an answer, and then leaves" },
    { command: "lianlu chat tuned --prompt 以《秋夜》为题写一首五言绝句", help: "one answer" },
    { command: "lianlu chat http://127.0.0.1:23333/v1", help: "through a server" },
  ],
  positionals: {
    min: 1,
    max: 1,
    help: "a fetched model's name, a model directory or file, or the base URL of an OpenAI-compatible server",
  },
  options: {
    adapter: { type: "string", placeholder: "DIR", help: "PEFT adapter to put beside a model directory" },
    tokenizer: { type: "string", placeholder: "PATH", help: "tokenizer, where it is not beside the model" },
    model: { type: "string", placeholder: "NAME", help: "which of a server's models; else the first" },
    system: { type: "string", placeholder: "TEXT", help: "what the model is told first" },
    prompt: { type: "string", placeholder: "TEXT", help: "one message: answer it and leave" },
    temperature: { type: "number", min: 0, max: 2, default: 0.8, help: "0 is greedy" },
    topP: { type: "number", min: 0.01, max: 1, default: 0.95, help: "nucleus of the sampling" },
    maxTokens: { type: "integer", min: 1, placeholder: "N", help: "longest answer; else what the context leaves" },
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      help: "the same seed gives the same answers; else another each time",
    },
    threads: {
      type: "integer",
      min: 1,
      max: 256,
      help: "threads of the computation; else LIANLU_THREADS or all cores",
    },
  },
  async run({ options, positionals, signal, report, json }) {
    const { system, prompt, temperature, topP, maxTokens } = options;
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
    const { model } = await openModel(positionals[0]!, {
      ...options,
      onNote: (text) => report({ type: "note", text }),
    });
    const write = (text: string): void => {
      if (json) report({ type: "text", text });
      else process.stdout.write(process.stdout.isTTY ? withoutControls(text) : text);
    };
    const first: Message[] = system === undefined ? [] : [{ role: "system", content: system }];

    /** Streams the answer to a dialogue and returns it; stopped, it is what was written until then. */
    async function answer(messages: readonly Message[], stop: AbortSignal): Promise<string> {
      let text = "";
      const limit = maxTokens === undefined ? {} : { maxTokens };
      try {
        for await (const event of model.generate({
          input: { messages },
          temperature,
          topP,
          seed,
          signal: stop,
          ...limit,
        })) {
          if (event.type !== "text-delta") continue;
          text += event.text;
          write(event.text);
        }
      } catch (error) {
        if (!stop.aborted) throw error;
      }
      write("\n");
      return text;
    }

    try {
      signal.throwIfAborted();
      if (prompt === undefined) return { turns: await converse(first, answer, signal) };
      const text = await answer([...first, { role: "user", content: prompt }], signal);
      signal.throwIfAborted();
      return { text };
    } finally {
      await model.close();
    }
  },
});

/** Reads lines until the end of input, /exit or a Ctrl-C between answers; returns how many were answered. */
async function converse(
  first: readonly Message[],
  answer: (messages: readonly Message[], stop: AbortSignal) => Promise<string>,
  signal: AbortSignal,
): Promise<number> {
  const interactive = process.stdin.isTTY && process.stdout.isTTY;
  const lines = createInterface({
    input: process.stdin,
    terminal: interactive,
    ...(interactive && { output: process.stdout, prompt: "> " }),
  });
  let messages = [...first];
  let turns = 0;
  let answering: AbortController | undefined;
  // On a terminal Ctrl-C comes as a key; elsewhere, and from others, as a signal.
  lines.on("SIGINT", () => (answering ? answering.abort() : lines.close()));
  const leave = (): void => {
    answering?.abort();
    lines.close();
  };
  signal.addEventListener("abort", leave, { once: true });
  if (interactive) lines.prompt();
  try {
    for await (const line of lines) {
      const text = line.trim();
      if (text === "/exit" || signal.aborted) break;
      if (text === "/clear") messages = [...first];
      else if (text !== "") {
        answering = new AbortController();
        const asked: Message[] = [...messages, { role: "user", content: text }];
        try {
          messages = [...asked, { role: "assistant", content: await answer(asked, answering.signal) }];
          turns += 1;
        } catch (error) {
          // A dialogue that has outgrown the context goes on after /clear; a pipe has nobody to read that.
          if (!interactive || !(error instanceof Failure)) throw error;
          process.stderr.write(`${error.message} /clear begins a new dialogue.\n`);
        }
        answering = undefined;
      }
      if (interactive) lines.prompt();
    }
  } finally {
    signal.removeEventListener("abort", leave);
    lines.close();
  }
  return turns;
}
