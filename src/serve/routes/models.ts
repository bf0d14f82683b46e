// GET /v1/models and /v1/models/:id: the one model that is served.
import type { Context, Hono } from "hono";
import type { LanguageModel } from "../../protocol/index.ts";
import { HttpError } from "../errors.ts";
import type { Gate } from "../gate.ts";

export function modelRoutes(app: Hono, gate: Gate, startedAt: number): void {
  const describe = ({ id, contextLength }: LanguageModel) => ({
    id,
    object: "model",
    created: startedAt,
    owned_by: "lianlu",
    max_model_len: contextLength,
  });
  app.get("/v1/models", (c) => c.json({ object: "list", data: gate.model ? [describe(gate.model)] : [] }));
  app.get("/v1/models/:id", (c: Context) => c.json(describe(requireModel(gate.model, c.req.param("id") ?? ""))));
}

/** Throws HttpError 404 where the model that is asked for is not the one that is served. */
export function requireModel(model: LanguageModel | undefined, id: string): LanguageModel {
  if (model?.id === id) return model;
  throw new HttpError(
    404,
    `The model ${JSON.stringify(id)} is not served here${model ? `; ${JSON.stringify(model.id)} is` : ""}.`,
    {
      param: "model",
      code: "model_not_found",
    },
  );
}
