// What lies beside a tokenizer in a checkpoint: tokenizer_config.json, chat templates, added_tokens.json, and the ids
// that end an answer.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import type { ChatTemplates } from "./chat.ts";
import { toUtf8 } from "./data.ts";
import type { TokenEntry } from "./data.ts";

export const TOKENIZER_CONFIG_NAME = "tokenizer_config.json";

/** Larger than any published file of this kind (about 35 MB). */
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** Larger than any published vocabulary (about 260,000); merging needs ranks below 2^22. */
export const MAX_IDS = 2 ** 21;
/** Published checkpoints have at most a few. */
const MAX_TEMPLATES = 100;

const nameSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({
  bos_token: nameSchema,
  eos_token: nameSchema,
  pad_token: nameSchema,
  unk_token: nameSchema,
  add_bos_token: z.boolean().nullish(),
  tokenizer_class: z.string().nullish(),
  chat_template: z.unknown().optional(),
  added_tokens_decoder: z
    .record(
      z.string(),
      z.looseObject({
        content: z.string(),
        special: z.boolean().default(false),
        lstrip: z.boolean().default(false),
        rstrip: z.boolean().default(false),
      }),
    )
    .nullish(),
});

export interface TokenizerConfig {
  bosToken: string | undefined;
  eosToken: string | undefined;
  padToken: string | undefined;
  unkToken: string | undefined;
  /** Undefined where the file does not say. */
  addBosToken: boolean | undefined;
  tokenizerClass: string | undefined;
  /** added_tokens_decoder and added_tokens.json, by id. */
  added: Map<number, TokenEntry>;
  templates: ChatTemplates;
  /** Ids that end an answer, of generation_config.json and config.json; perhaps of another vocabulary. */
  stopIds: number[];
}

/** Reads what there is of it in a directory; all of it may be missing. Throws Failure("input") for a broken file. */
export function readTokenizerConfig(directory: string): TokenizerConfig {
  const path = join(directory, TOKENIZER_CONFIG_NAME);
  const config: z.infer<typeof configSchema> = existsSync(path) ? parseJsonFile(path, configSchema) : {};
  const added = new Map<number, TokenEntry>();
  const add = (id: number, name: string, token: TokenEntry, file: string) => {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_IDS) {
      throw new Failure("input", `${file}: added token ${JSON.stringify(name)} has the id ${id}.`, "Check the file.");
    }
    added.set(id, token);
  };
  const addedPath = join(directory, "added_tokens.json");
  if (existsSync(addedPath)) {
    for (const [name, id] of Object.entries(parseJsonFile(addedPath, z.record(z.string(), z.number())))) {
      add(id, name, { bytes: toUtf8(name), kind: "control" }, addedPath);
    }
  }
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {})) {
    add(
      Number(id),
      token.content,
      {
        bytes: toUtf8(token.content),
        kind: token.special ? "control" : "added",
        ...(token.lstrip ? { stripLeft: true } : {}),
        ...(token.rstrip ? { stripRight: true } : {}),
      },
      path,
    );
  }
  return {
    bosToken: nameOf(config.bos_token),
    eosToken: nameOf(config.eos_token),
    padToken: nameOf(config.pad_token),
    unkToken: nameOf(config.unk_token),
    addBosToken: config.add_bos_token ?? undefined,
    tokenizerClass: config.tokenizer_class ?? undefined,
    added,
    templates: readTemplates(directory, config.chat_template),
    stopIds: ["generation_config.json", "config.json"].flatMap((name) => readStopIds(join(directory, name))),
  };
}

const stopSchema = z.looseObject({ eos_token_id: z.unknown() });

/** What is no id is left to those who read the model. */
function readStopIds(path: string): number[] {
  if (!existsSync(path)) return [];
  const ids = [parseJsonFile(path, stopSchema).eos_token_id].flat();
  return ids.filter((id): id is number => Number.isInteger(id) && (id as number) >= 0);
}

function nameOf(name: z.infer<typeof nameSchema>): string | undefined {
  return typeof name === "string" ? name : name?.content;
}

/** Several named templates: the one for dialogues with tools is "tool_use", the usual one "default". */
export function chooseTemplates(named: ReadonlyMap<string, string>): ChatTemplates {
  const first = named.values().next().value;
  return {
    usual: named.get("default") ?? (named.has("tool_use") && named.size === 1 ? undefined : first),
    withTools: named.get("tool_use"),
  };
}

/** Files win over tokenizer_config.json, as in transformers. */
function readTemplates(directory: string, inConfig: unknown): ChatTemplates {
  const named = new Map<string, string>();
  if (typeof inConfig === "string") named.set("default", inConfig);
  const list = z.array(z.looseObject({ name: z.string(), template: z.string() })).safeParse(inConfig);
  for (const { name, template } of list.data?.slice(0, MAX_TEMPLATES) ?? []) named.set(name, template);
  const json = join(directory, "chat_template.json");
  if (existsSync(json)) {
    const { chat_template: template } = parseJsonFile(json, z.looseObject({ chat_template: z.string() }));
    named.set("default", template);
  }
  const jinja = join(directory, "chat_template.jinja");
  if (existsSync(jinja)) named.set("default", readLimited(jinja));
  const more = join(directory, "additional_chat_templates");
  if (existsSync(more)) {
    for (const file of readdirSync(more).sort().slice(0, MAX_TEMPLATES)) {
      if (file.endsWith(".jinja")) named.set(basename(file, ".jinja"), readLimited(join(more, file)));
    }
  }
  return chooseTemplates(named);
}

function readLimited(path: string): string {
  try {
    if (statSync(path).size <= MAX_FILE_BYTES) return readFileSync(path, "utf8");
  } catch (error) {
    throw new Failure("input", `${path} cannot be read: ${(error as Error).message}`, "Get the file again.", {
      cause: error,
    });
  }
  throw new Failure("input", `${path} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MB`, "Check the file.");
}

/** Throws Failure("input") that names the file and the field. */
export function parseJsonFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(readLimited(path));
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("input", `${path} is not JSON: ${(error as Error).message}`, "Get the file again.", {
      cause: error,
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new Failure("input", `${path}: field ${issue.path.join(".") || "(root)"}: ${issue.message}`, "Check the file.");
}
