// /v1/adapters: LoRA adapters that come and go while their model answers. Only directories below one root may be loaded.
import { realpath } from "node:fs/promises";
import { isAbsolute, join, relative, resolve } from "node:path";
import type { Hono } from "hono";
import { z } from "zod";
import { parseBody, readJson } from "../body.ts";
import { HttpError } from "../errors.ts";
import type { ServerContext } from "../exchange.ts";

const adapterSchema = z.strictObject({
  /** Default: the first model. */
  model: z.string().optional(),
  name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "expected up to 64 letters, digits, dots, dashes or underscores"),
  /** Default: the name. */
  path: z.string().min(1).optional(),
});

export function adapterRoutes(app: Hono, { gate, models, adaptersRoot }: ServerContext): void {
  const firstModel = (): string => models.list()[0]?.id ?? "";
  const describe = () =>
    models.list().flatMap(({ id, adapters }) => adapters.map((name) => ({ id: `${id}:${name}`, model: id, name })));

  app.get("/v1/adapters", (c) => c.json({ object: "list", data: describe() }));
  app.post("/v1/adapters", async (c) => {
    const { name, path = name, model = firstModel() } = parseBody(adapterSchema, await readJson(c.req.raw));
    const { leave } = gate.enter();
    try {
      await models.addAdapter(model, name, await below(adaptersRoot, path));
      return c.json({ id: `${model}:${name}`, model, name }, 201);
    } finally {
      leave();
    }
  });
  app.delete("/v1/adapters/:name", async (c) => {
    const name = c.req.param("name");
    const model = c.req.query("model") ?? firstModel();
    const { leave } = gate.enter();
    try {
      await models.removeAdapter(model, name);
      return c.json({ id: `${model}:${name}`, deleted: true });
    } finally {
      leave();
    }
  });
}

/** A directory below the root, links followed. Throws HttpError 403 and 400. */
async function below(root: string | undefined, path: string): Promise<string> {
  if (root === undefined) {
    throw new HttpError(403, "This server loads no adapters; start it with --adapters DIR.", {
      code: "adapters_not_allowed",
    });
  }
  const outside = new HttpError(400, `There is no adapter ${JSON.stringify(path.slice(0, 200))} in the directory.`, {
    param: "path",
    code: "adapter_not_found",
  });
  let real;
  let realRoot;
  try {
    realRoot = await realpath(root);
    real = await realpath(resolve(join(realRoot, path)));
  } catch {
    throw outside;
  }
  const inside = relative(realRoot, real);
  if (isAbsolute(path) || inside === "" || inside.startsWith("..") || isAbsolute(inside)) throw outside;
  return real;
}
