// An adapter directory named where a model is wanted: the model is the one that its adapter_config.json names.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import { findModel, modelsDir, resolveModel } from "./store.ts";

const schema = z.looseObject({ base_model_name_or_path: z.string().min(1) });

/**
 * The path of a model, and of the adapter beside it where an adapter's directory was named. The base is looked for from
 * the working directory, beside the adapter, and among the fetched models. Throws Failure("input") where it is nowhere.
 */
export function resolveWithAdapter(
  nameOrPath: string,
  directory = modelsDir(),
): { path: string; adapter: string | undefined } {
  const path = resolveModel(nameOrPath, directory);
  const config = join(path, "adapter_config.json");
  if (existsSync(join(path, "config.json")) || !existsSync(config)) return { path, adapter: undefined };
  const base = baseOf(config);
  const near = [base, join(dirname(path), base), join(path, base)].find((candidate) => existsSync(candidate));
  const found = near ?? findModel(base, directory)?.path;
  if (found !== undefined) return { path: found, adapter: path };
  throw new Failure(
    "input",
    `${path} is an adapter of ${base}, and that model is not here.`,
    `Fetch it with \`lianlu model get\`, or name the model and the adapter: --adapter ${path}.`,
  );
}

function baseOf(config: string): string {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(config, "utf8"));
  } catch (cause) {
    throw new Failure("input", `${config}: not JSON.`, "Restore the file.", { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data.base_model_name_or_path;
  throw new Failure(
    "input",
    `${config}: base_model_name_or_path does not say which model the adapter belongs to.`,
    "Name the model, and the adapter with --adapter.",
  );
}
