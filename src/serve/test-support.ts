// For tests alone: servers that end with the test file, a scripted model, and requests as JSON.
import { after } from "node:test";
import { Failure, type GenerateEvent, type GenerateRequest, type ServedModel } from "../protocol/index.ts";
import { serve, type RunningServer, type ServeOptions } from "./server.ts";

/** Starts a server that is closed after the tests of the file. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const server = await serve({ port: 0, drainMilliseconds: 50, ...options });
  after(() => server.close());
  return server;
}

export interface ScriptedModel extends ServedModel {
  /** What it was asked, in order. */
  readonly requests: GenerateRequest[];
  readonly state: { closed: boolean };
}

/** A model that answers by a script, and whose tokens are UTF-16 units. */
export function scriptedModel(
  id: string,
  script: (request: GenerateRequest) => Iterable<GenerateEvent> | AsyncIterable<GenerateEvent> = () => answer("hello"),
): ScriptedModel {
  const requests: GenerateRequest[] = [];
  const state = { closed: false };
  const adapters = new Map<string, string>();
  const idsOf = (text: string): number[] => Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
  return {
    id,
    contextLength: 1000,
    requests,
    state,
    async *generate(request) {
      requests.push(request);
      yield* script(request);
    },
    score: (texts) =>
      Promise.resolve(
        texts.map((text) => {
          const tokens = typeof text === "string" ? idsOf(text) : [...text];
          return {
            tokens,
            logprobs: tokens.map((token, index) => (index === 0 ? null : -token / 100)),
            offsets: tokens.map((_, index) => index),
          };
        }),
      ),
    tokenize: (input) =>
      Promise.resolve(
        typeof input === "string"
          ? idsOf(input)
          : "prompt" in input.input
            ? [0, ...idsOf(input.input.prompt)]
            : "promptIds" in input.input
              ? [...input.input.promptIds]
              : input.input.messages.flatMap(({ role, content }) => idsOf(`${role}:${content}\n`)),
      ),
    detokenize: (ids) => Promise.resolve(String.fromCharCode(...ids)),
    embed: (texts, { pooling = "last" } = {}) =>
      Promise.resolve({
        vectors: texts.map((text) => Float32Array.of(text.length, pooling === "last" ? 0.5 : 0.25)),
        promptTokens: texts.reduce((sum, text) => sum + text.length, 0),
      }),
    loadAdapter(name, directory) {
      if (directory.endsWith("broken")) return Promise.reject(new Failure("input", "The adapter is broken."));
      adapters.set(name, directory);
      return Promise.resolve();
    },
    unloadAdapter: (name) => Promise.resolve(void adapters.delete(name)),
    adapters: () => Promise.resolve([...adapters.keys()]),
    statistics: () =>
      Promise.resolve({
        running: 1,
        waiting: 2,
        pagesFree: 3,
        pagesCached: 4,
        pagesTotal: 10,
        promptTokens: 5,
        cachedTokens: 6,
        generatedTokens: 7,
        preemptions: 8,
        draftedTokens: 9,
        acceptedTokens: 10,
        weightBytes: 1000,
        cacheBytes: 100,
      }),
    close() {
      state.closed = true;
      return Promise.resolve();
    },
  };
}

/** An answer in pieces of a word, and how it ended. */
export function* answer(
  text: string,
  ending: Partial<GenerateEvent & { type: "finish" }> = {},
): Generator<GenerateEvent> {
  for (const piece of text.split(/(?<= )/)) yield { type: "text-delta", text: piece };
  yield { type: "finish", reason: "stop", usage: { promptTokens: 5, completionTokens: 3, cachedTokens: 2 }, ...ending };
}

/** Sends JSON and reads JSON. */
export async function postJson(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}
