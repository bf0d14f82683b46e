// Talks to the server as any program would: with the official `openai` package, over HTTP, streaming.
import OpenAI from "openai";
import type { JobEvent } from "../../src/protocol/index.ts";

export interface StreamedPoem {
  model: string;
  request: string;
  poem: string;
  /** Pieces in which it came. */
  chunks: number;
  firstPieceMs: number;
  totalMs: number;
}

const request = "以《春望》为题写一首五言绝句";

/** Asks the server at `url` for a poem and reports it piece by piece. */
export async function streamPoem(
  url: string,
  report: (event: JobEvent) => void,
  signal: AbortSignal,
): Promise<StreamedPoem> {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none is needed", maxRetries: 0 });
  const models = await client.models.list({ signal });
  const model = models.data[0]?.id;
  if (model === undefined) throw new Error(`${url}/v1/models lists no model`);
  report({ type: "note", text: `The model there is ${model}. Asked: ${request}` });
  const started = performance.now();
  let firstPieceMs = 0;
  let poem = "";
  let chunks = 0;
  const stream = await client.chat.completions.create(
    { model, messages: [{ role: "user", content: request }], stream: true, max_tokens: 80, temperature: 0.7, seed: 1 },
    { signal },
  );
  for await (const chunk of stream) {
    const piece = chunk.choices[0]?.delta.content ?? "";
    if (piece === "") continue;
    if (chunks === 0) firstPieceMs = performance.now() - started;
    chunks += 1;
    poem += piece;
    report({ type: "text", text: piece });
  }
  report({ type: "text", text: "\n" });
  return { model, request, poem, chunks, firstPieceMs, totalMs: performance.now() - started };
}
