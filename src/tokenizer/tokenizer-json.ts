// Reads Hugging Face's tokenizer.json and tokenizer_config.json for byte-level BPE.
// Other models (Unigram, WordPiece) and BPE that is not byte-level are refused by name. Writing: tokenizer-json-write.ts.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import { unspellBytes } from "./byte-characters.ts";
import { toUtf8 } from "./data.ts";
import type { Normalization, TokenEntry, TokenizerData } from "./data.ts";
import { GPT2_PATTERN } from "./pre-tokenizer.ts";
import type { SplitStep } from "./pre-tokenizer.ts";

export const TOKENIZER_NAME = "tokenizer.json";
export const TOKENIZER_CONFIG_NAME = "tokenizer_config.json";

/** Larger than any published file of this kind (about 35 MB). */
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/** Larger than any published vocabulary (about 260,000); the merging needs ranks below 2^22. */
const MAX_IDS = 2 ** 21;

/** What usually ends a text, where the configuration does not say. */
const USUAL_ENDS = ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>"];

const componentSchema = z.looseObject({ type: z.string() });
type Component = z.infer<typeof componentSchema>;
const fileSchema = z.looseObject({
  added_tokens: z
    .array(z.looseObject({ id: z.int().nonnegative(), content: z.string().min(1), special: z.boolean() }))
    .default([]),
  normalizer: componentSchema.nullish(),
  pre_tokenizer: componentSchema.nullish(),
  post_processor: componentSchema.nullish(),
  decoder: componentSchema.nullish(),
  model: z.looseObject({
    // Checked by hand below: the schema would copy a hundred thousand entries.
    vocab: z.custom<Record<string, unknown>>((value) => typeof value === "object" && value !== null),
    merges: z.array(z.unknown()),
    unk_token: z.string().nullish(),
    ignore_merges: z.boolean().nullish(),
    byte_fallback: z.boolean().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
});
const tokenNameSchema = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({
  bos_token: tokenNameSchema,
  eos_token: tokenNameSchema,
  pad_token: tokenNameSchema,
  unk_token: tokenNameSchema,
  chat_template: z.unknown().optional(),
});

/**
 * Reads tokenizer.json, with tokenizer_config.json beside it where there is one.
 * Throws Failure("input") that names the file and the part which is missing, broken or of a kind not supported.
 */
export function readTokenizerJson(path: string): TokenizerData {
  const file = parseFile(path, fileSchema);
  const configPath = join(dirname(path), TOKENIZER_CONFIG_NAME);
  const config: z.infer<typeof configSchema> = existsSync(configPath) ? parseFile(configPath, configSchema) : {};
  const { model } = file;
  const unsupported = (what: string) =>
    new Failure("input", `${path}: ${what} is not supported`, "Use the tokenizer of a byte-level BPE model.");

  const kind = model["type"] ?? "BPE";
  if (kind !== "BPE") throw unsupported(`a model of type ${JSON.stringify(kind)}`);
  if (model.byte_fallback) throw unsupported("BPE with byte_fallback (SentencePiece's kind)");
  if (model.continuing_subword_prefix || model.end_of_word_suffix) throw unsupported("a prefix or suffix of subwords");

  const vocabulary = new Map<string, number>();
  for (const [text, id] of Object.entries(model.vocab)) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_IDS) {
      throw new Failure("input", `${path}: token ${JSON.stringify(text)} has the id ${JSON.stringify(id)}`);
    }
    vocabulary.set(text, id);
  }
  const tokens: (TokenEntry | undefined)[] = [];
  for (const [text, id] of vocabulary) {
    if (tokens[id] !== undefined) throw new Failure("input", `${path}: id ${id} is given to two tokens`);
    tokens[id] = { bytes: unspellBytes(text) ?? toUtf8(text), kind: "merged" };
  }
  for (const added of file.added_tokens) {
    if (added.id >= MAX_IDS) throw new Failure("input", `${path}: added token ${added.content} has the id ${added.id}`);
    tokens[added.id] = { bytes: toUtf8(added.content), kind: added.special ? "control" : "added" };
  }
  const preTokenizer = readPreTokenizer(file.pre_tokenizer ?? undefined, unsupported);
  const controlId = (name: z.infer<typeof tokenNameSchema>): number | undefined => {
    const content = typeof name === "string" ? name : name?.content;
    if (content === undefined) return undefined;
    const id = file.added_tokens.find((token) => token.content === content)?.id ?? vocabulary.get(content);
    // An end of text that is an ordinary entry of the vocabulary must not come from text either.
    if (id !== undefined) tokens[id] = { bytes: toUtf8(content), kind: "control" };
    return id;
  };
  let eosId: number | undefined;
  for (const name of [config.eos_token, ...USUAL_ENDS]) eosId ??= controlId(name);
  if (eosId === undefined) {
    throw new Failure(
      "input",
      `${path}: no token ends a text: ${TOKENIZER_CONFIG_NAME} has no eos_token that is in the vocabulary`,
      `Put a ${TOKENIZER_CONFIG_NAME} with "eos_token" beside it.`,
    );
  }
  return {
    tokens: Array.from(tokens),
    merges: readMerges(path, model.merges, vocabulary),
    splits: preTokenizer.splits,
    addPrefixSpace: preTokenizer.addPrefixSpace,
    normalizations: readNormalizer(file.normalizer ?? undefined, unsupported),
    ignoreMerges: model.ignore_merges ?? false,
    bosId: controlId(config.bos_token) ?? controlId(readTemplateBos(file.post_processor ?? undefined)),
    eosId,
    padId: controlId(config.pad_token),
    unknownId: controlId(config.unk_token ?? model.unk_token),
    chatTemplate: readChatTemplate(config.chat_template),
  };
}

function parseFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> {
  let value: unknown;
  try {
    if (statSync(path).size > MAX_FILE_BYTES) {
      throw new Failure("input", `${path} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MB`, "Check the file.");
    }
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof Failure) throw error;
    const what = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
    throw new Failure("input", `${path} ${what}: ${(error as Error).message}`, "Get the file again.", { cause: error });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new Failure("input", `${path}: field ${issue.path.join(".") || "(root)"}: ${issue.message}`, "Check the file.");
}

function readMerges(
  path: string,
  merges: readonly unknown[],
  vocabulary: ReadonlyMap<string, number>,
): TokenizerData["merges"] {
  const [lefts, rights, results] = [0, 1, 2].map(() => new Int32Array(merges.length)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  merges.forEach((merge, index) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    const ids =
      typeof left === "string" && typeof right === "string"
        ? [vocabulary.get(left), vocabulary.get(right), vocabulary.get(left + right)]
        : [];
    if (ids.length === 0 || ids.includes(undefined)) {
      throw new Failure(
        "input",
        `${path}: merge ${index}, ${JSON.stringify(merge)}, does not join two tokens of the vocabulary to a third`,
        "Get the file again; its vocabulary and merges belong together.",
      );
    }
    [lefts[index], rights[index], results[index]] = ids as [number, number, number];
  });
  return { lefts, rights, results };
}

type Unsupported = (what: string) => Failure;

function readParts(value: unknown, unsupported: Unsupported): Component[] {
  const parts = z.array(componentSchema).safeParse(value);
  if (!parts.success) throw unsupported("a Sequence whose parts have no type");
  return parts.data;
}

function readPreTokenizer(
  component: Component | undefined,
  unsupported: Unsupported,
): { splits: SplitStep[]; addPrefixSpace: boolean } {
  if (component === undefined) throw unsupported("a tokenizer without a pre-tokenizer");
  const splits: SplitStep[] = [];
  let addPrefixSpace = false;
  let byteLevel = false;
  const parts = component.type === "Sequence" ? readParts(component["pretokenizers"], unsupported) : [component];
  for (const part of parts) {
    switch (part.type) {
      case "ByteLevel":
        byteLevel = true;
        addPrefixSpace = part["add_prefix_space"] === true;
        if (part["use_regex"] !== false) splits.push({ pattern: GPT2_PATTERN });
        break;
      case "Split": {
        const pattern = z.looseObject({ Regex: z.string() }).safeParse(part["pattern"]);
        if (!pattern.success) throw unsupported("a Split pre-tokenizer without a regular expression");
        const behavior = `${String(part["behavior"])}${part["invert"] === true ? ", inverted" : ""}`;
        // Removing what does not match equals isolating what does, for patterns that match all of a text.
        if (!["Isolated", "Isolated, inverted", "Removed, inverted"].includes(behavior)) {
          throw unsupported(`a Split pre-tokenizer with the behavior "${behavior}"`);
        }
        splits.push({ pattern: pattern.data.Regex });
        break;
      }
      case "Digits":
        splits.push({ pattern: part["individual_digits"] === true ? String.raw`\p{N}` : String.raw`\p{N}+` });
        break;
      default:
        throw unsupported(`a pre-tokenizer of type "${part.type}"`);
    }
  }
  if (!byteLevel) throw unsupported("a pre-tokenizer that is not byte-level");
  return { splits, addPrefixSpace };
}

function readNormalizer(component: Component | undefined, unsupported: Unsupported): Normalization[] {
  if (component === undefined) return [];
  switch (component.type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return [component.type];
    case "Sequence":
      return readParts(component["normalizers"], unsupported).flatMap((part) => readNormalizer(part, unsupported));
    default:
      throw unsupported(`a normalizer of type "${component.type}"`);
  }
}

/** The token that a TemplateProcessing puts before a text. */
function readTemplateBos(component: Component | undefined): string | undefined {
  const sequence = z.array(componentSchema).safeParse(component?.["processors"]);
  const parts = sequence.data ?? [component];
  const template = parts.find((part) => part?.type === "TemplateProcessing")?.["single"];
  const parsed = z
    .array(z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) }))
    .safeParse(Array.isArray(template) ? template.slice(0, 1) : undefined);
  return parsed.data?.[0]?.SpecialToken.id;
}

/** A template, or the default of several named ones. */
function readChatTemplate(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const named = z.array(z.looseObject({ name: z.string(), template: z.string() })).safeParse(value);
  return named.data?.find((template) => template.name === "default")?.template ?? named.data?.[0]?.template;
}
