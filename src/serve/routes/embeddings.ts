// POST /v1/embeddings: a vector of each text.
import { endianness } from "node:os";
import type { Hono } from "hono";
import { z } from "zod";
import { parseBody, readJson } from "../body.ts";
import { exchange, type ServerContext } from "../exchange.ts";
import { maxInputs } from "../limits.ts";
import { need } from "../models.ts";
import { promptsOf, textsOrIds } from "./completions-schema.ts";

const embeddingRequestSchema = z.strictObject({
  model: z.string(),
  input: textsOrIds(maxInputs),
  encoding_format: z.enum(["float", "base64"]).optional(),
  /** Beside the official fields: which hidden states make the vector. */
  pooling: z.enum(["mean", "last"]).optional(),
  user: z.string().optional(),
});

export function embeddingRoutes(app: Hono, context: ServerContext): void {
  app.post("/v1/embeddings", async (c) => {
    const request = parseBody(embeddingRequestSchema, await readJson(c.req.raw));
    return exchange(context, c, request.model, async ({ model, adapter, signal, name }) => {
      const { vectors, promptTokens } = await need(model, "embed")(promptsOf(request.input), {
        signal,
        ...(adapter !== undefined && { adapter }),
        ...(request.pooling && { pooling: request.pooling }),
      });
      return c.json({
        object: "list",
        data: vectors.map((vector, index) => ({
          object: "embedding",
          index,
          embedding: request.encoding_format === "base64" ? toBase64(vector) : [...vector],
        })),
        model: name,
        usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
      });
    });
  });
}

/** The floats' bytes, little end first. */
function toBase64(vector: Float32Array): string {
  const bytes = Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
  return (endianness() === "LE" ? bytes : Buffer.from(bytes).swap32()).toString("base64");
}
