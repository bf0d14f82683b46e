// GET /v1/models and /v1/models/:id: what is served, loaded or not, with the adapters of each model.
import type { Hono } from "hono";
import { HttpError } from "../errors.ts";
import type { ServerContext } from "../exchange.ts";

export function modelRoutes(app: Hono, { models, startedAt }: ServerContext): void {
  const describe = () =>
    models.list().flatMap(({ id, state, contextLength, adapters }) => {
      const common = {
        object: "model",
        created: startedAt,
        owned_by: "lianlu",
        ...(contextLength !== undefined && { max_model_len: contextLength }),
        state,
      };
      return [{ id, ...common }, ...adapters.map((adapter) => ({ id: `${id}:${adapter}`, ...common, parent: id }))];
    });
  app.get("/v1/models", (c) => c.json({ object: "list", data: describe() }));
  // A name may hold slashes.
  app.get("/v1/models/:id{.+}", (c) => {
    const id = c.req.param("id");
    const found = describe().find((each) => each.id === id);
    if (found) return c.json(found);
    throw new HttpError(404, `The model ${JSON.stringify(id)} is not served here.`, {
      param: "model",
      code: "model_not_found",
    });
  });
}
