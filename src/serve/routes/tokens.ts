// POST /tokenize and /detokenize: the ids of a text or a dialogue as the model reads it, and the text of ids.
import type { Hono } from "hono";
import { z } from "zod";
import { parseBody, readJson } from "../body.ts";
import { exchange, type ServerContext } from "../exchange.ts";
import { need } from "../models.ts";
import { dialogueShape, toDialogue } from "./chat-schema.ts";
import { tokenIds } from "./completions-schema.ts";

const textSchema = z.strictObject({
  model: z.string().optional(),
  prompt: z.string(),
  /** Whether the model's token of beginning stands before the text. Default true. */
  add_special_tokens: z.boolean().optional(),
});
const dialogueSchema = z.strictObject({ model: z.string().optional(), ...dialogueShape });
const idsSchema = z.strictObject({ model: z.string().optional(), tokens: z.union([tokenIds, z.tuple([])]) });

export function tokenRoutes(app: Hono, context: ServerContext): void {
  const onlyModel = (): string => context.models.list()[0]?.id ?? "";
  app.post("/tokenize", async (c) => {
    const body = await readJson(c.req.raw);
    const isDialogue = typeof body === "object" && body !== null && Object.hasOwn(body, "messages");
    const request = isDialogue ? parseBody(dialogueSchema, body) : parseBody(textSchema, body);
    const name = request.model ?? onlyModel();
    return exchange(context, c, name, async ({ model }) => {
      const tokens = await need(
        model,
        "tokenize",
      )(
        "messages" in request
          ? toDialogue(request)
          : request.add_special_tokens === false
            ? request.prompt
            : { input: { prompt: request.prompt } },
      );
      return c.json({ count: tokens.length, max_model_len: model.contextLength, tokens });
    });
  });
  app.post("/detokenize", async (c) => {
    const request = parseBody(idsSchema, await readJson(c.req.raw));
    return exchange(context, c, request.model ?? onlyModel(), async ({ model }) =>
      c.json({ prompt: await need(model, "detokenize")(request.tokens) }),
    );
  });
}
