// POST /v1/completions: text that goes on after raw prompts, and the prompts' own log-probabilities with echo.
import { randomBytes } from "node:crypto";
import type { Hono } from "hono";
import type { FinishReason, GenerateEvent, TokenLogprob, Usage } from "../../protocol/index.ts";
import { readJson } from "../body.ts";
import { HttpError } from "../errors.ts";
import { exchange, type Exchange, type ServerContext } from "../exchange.ts";
import { addLegacyLogprob, createLegacyLogprobs, tokenText, type LegacyLogprobs } from "../logprobs.ts";
import { need } from "../models.ts";
import { seedOf } from "../sampling.ts";
import { interleave } from "../streaming.ts";
import { formatUsage } from "./chat.ts";
import {
  maxTokensOf,
  parseCompletionRequest,
  promptsOf,
  toPromptRequest,
  type CompletionRequest,
  type Prompt,
} from "./completions-schema.ts";

/** Answers to all prompts together; each of them is a sequence of its own. */
const maxAnswers = 1024;

export function completionRoutes(app: Hono, context: ServerContext): void {
  app.post("/v1/completions", async (c) => {
    const request = parseCompletionRequest(await readJson(c.req.raw));
    const { n = 1 } = request;
    const prompts = promptsOf(request.prompt);
    if (prompts.length * n > maxAnswers) {
      throw new HttpError(400, `${prompts.length} prompts with n ${n} are more than ${maxAnswers} answers.`, {
        param: "n",
      });
    }
    return exchange(context, c, request.model, async (opened) => {
      const echoes = request.echo ? await echoPrompts(opened, prompts, request) : undefined;
      const answers = prompts.flatMap((prompt, each) =>
        Array.from({ length: n }, (_, index) => answer(opened, request, prompt, index, echoes?.[each])),
      );
      const head = {
        id: `cmpl-${randomBytes(12).toString("hex")}`,
        object: "text_completion",
        created: Math.floor(Date.now() / 1000),
        model: opened.name,
      };
      if (!request.stream) return c.json(await whole(head, answers, n));
      return opened.stream(chunks(head, answers, n, request.stream_options?.include_usage ?? false));
    });
  });
}

interface Echo {
  text: string;
  promptTokens: number;
  logprobs: LegacyLogprobs | undefined;
}

/** A piece of an answer. */
interface Piece {
  text: string;
  logprobs: LegacyLogprobs | null;
  finish?: { reason: FinishReason; usage: Usage; stop?: string };
}

/** The prompts' texts, and what the model holds of their tokens where that is asked for. */
async function echoPrompts(
  { model, adapter, signal }: Exchange,
  prompts: readonly Prompt[],
  { logprobs: top }: CompletionRequest,
): Promise<Echo[]> {
  const texts = await Promise.all(
    prompts.map((prompt) => (typeof prompt === "string" ? prompt : need(model, "detokenize")(prompt))),
  );
  if (top === undefined) {
    return Promise.all(
      prompts.map(async (prompt, index) => {
        const ids = typeof prompt === "string" ? await need(model, "tokenize")({ input: { prompt } }) : prompt;
        return { text: texts[index]!, promptTokens: ids.length, logprobs: undefined };
      }),
    );
  }
  const scored = await model.score(prompts, {
    topLogprobs: top,
    signal,
    ...(adapter !== undefined && { adapter }),
  });
  return scored.map(({ tokens, logprobs, offsets, top: likeliest }, index) => {
    const text = texts[index]!;
    const legacy = createLegacyLogprobs(top > 0);
    for (const [position, id] of tokens.entries()) {
      const start = offsets[position]!;
      addLegacyLogprob(
        legacy,
        {
          id,
          text: text.slice(start, offsets[position + 1]),
          bytes: undefined,
          logprob: logprobs[position] ?? null,
          top: likeliest?.[position] ?? null,
        },
        start,
      );
    }
    return { text, promptTokens: tokens.length, logprobs: legacy };
  });
}

/** The echo, if any, and then the text that goes on. */
async function* answer(
  { generate }: Exchange,
  request: CompletionRequest,
  prompt: Prompt,
  index: number,
  echo: Echo | undefined,
): AsyncGenerator<Piece, void, void> {
  const maxTokens = maxTokensOf(request);
  // Each answer to a prompt goes on after a copy of its own.
  const first = echo && { text: echo.text, logprobs: echo.logprobs ? structuredClone(echo.logprobs) : null };
  if (maxTokens === 0) {
    const usage = { promptTokens: echo?.promptTokens ?? 0, completionTokens: 0 };
    yield { text: "", logprobs: null, ...first, finish: { reason: "length", usage } };
    return;
  }
  const wanted = toPromptRequest(request, prompt);
  let offset = echo?.text.length ?? 0;
  let pending = first;
  for await (const event of generate({ ...wanted, seed: seedOf(wanted.seed, index) })) {
    // The echo waits for the first event, so that a refused request is refused as a whole.
    if (pending) yield pending;
    pending = undefined;
    const piece = toPiece(event, request.logprobs, offset);
    for (const token of event.type === "text-delta" ? (event.logprobs ?? []) : []) {
      offset += tokenText(token.bytes).length;
    }
    yield piece;
  }
}

function toPiece(event: GenerateEvent, top: number | undefined, offset: number): Piece {
  switch (event.type) {
    case "text-delta":
      return {
        text: event.text,
        logprobs: top === undefined || !event.logprobs ? null : toLegacy(event.logprobs, top, offset),
      };
    case "finish":
      return { text: "", logprobs: null, finish: event };
    default:
      throw new RangeError(`A raw prompt was answered with a ${event.type}.`);
  }
}

function toLegacy(tokens: readonly TokenLogprob[], top: number, offset: number): LegacyLogprobs {
  const legacy = createLegacyLogprobs(top > 0);
  let start = offset;
  for (const { id, bytes, logprob, top: likeliest } of tokens) {
    const text = tokenText(bytes);
    addLegacyLogprob(legacy, { id, text, bytes, logprob, top: likeliest }, start);
    start += text.length;
  }
  return legacy;
}

/** Sums the usage of answers, `n` of each prompt: a prompt is counted once. */
function createUsage(n: number) {
  const sum = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
  return {
    add(index: number, { promptTokens, completionTokens, cachedTokens = 0 }: Usage): void {
      sum.completionTokens += completionTokens;
      if (index % n !== 0) return;
      sum.promptTokens += promptTokens;
      sum.cachedTokens += cachedTokens;
    },
    format: () => formatUsage(sum),
  };
}

async function whole(head: object, answers: readonly AsyncIterable<Piece>[], n: number) {
  const usage = createUsage(n);
  const choices = answers.map((_, index) => ({
    index,
    text: "",
    logprobs: null as LegacyLogprobs | null,
    finish_reason: "",
    stop_reason: null as string | null,
  }));
  for await (const { index, value } of interleave(answers)) {
    const choice = choices[index]!;
    choice.text += value.text;
    choice.logprobs = join(choice.logprobs, value.logprobs);
    if (!value.finish) continue;
    choice.finish_reason = value.finish.reason;
    choice.stop_reason = value.finish.stop ?? null;
    usage.add(index, value.finish.usage);
  }
  return { ...head, choices, usage: usage.format() };
}

function join(before: LegacyLogprobs | null, after: LegacyLogprobs | null): LegacyLogprobs | null {
  if (!before || !after) return before ?? after;
  for (const key of ["tokens", "token_logprobs", "top_logprobs", "text_offset", "content"] as const) {
    (before[key] as unknown[] | null)?.push(...(after[key] ?? []));
  }
  return before;
}

async function* chunks(
  head: object,
  answers: readonly AsyncIterable<Piece>[],
  n: number,
  includeUsage: boolean,
): AsyncGenerator<unknown, void, void> {
  const usage = createUsage(n);
  for await (const { index, value } of interleave(answers)) {
    const { text, logprobs, finish } = value;
    yield {
      ...head,
      choices: [
        {
          index,
          text,
          logprobs,
          finish_reason: finish?.reason ?? null,
          ...(finish && { stop_reason: finish.stop ?? null }),
        },
      ],
      ...(includeUsage && { usage: null }),
    };
    if (finish) usage.add(index, finish.usage);
  }
  if (includeUsage) yield { ...head, choices: [], usage: usage.format() };
}
