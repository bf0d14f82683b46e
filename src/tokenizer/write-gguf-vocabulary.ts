// The vocabulary of a GGUF file as a checkpoint's files: tokenizer.model (SentencePiece) or tokenizer.json (byte-level
// BPE), and tokenizer_config.json with the chat template.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { GgufValue } from "../formats/gguf.ts";
import { encodeSentencePiece, pieceKinds } from "../formats/sentencepiece.ts";
import { Failure } from "../protocol/errors.ts";
import { unspellBytes } from "./byte-characters.ts";
import type { TokenEntry } from "./data.ts";
import { ggufSplits } from "./gguf-splits.ts";
import { saveTokenizer } from "./tokenizer-json-write.ts";

/** Writes the files into a directory that exists; `path` names the GGUF file in errors. */
export function writeTokenizerOfGguf(directory: string, path: string, metadata: ReadonlyMap<string, GgufValue>): void {
  const value = (key: string) => metadata.get(`tokenizer.ggml.${key}`)?.value;
  const array = (key: string) => (Array.isArray(value(key)) ? (value(key) as readonly unknown[]) : []);
  const texts = array("tokens") as readonly string[];
  const kindOf = texts.map((_, id) => pieceKinds[Number(array("token_type")[id] ?? 1)] ?? "normal");
  const idOf = (key: string) => {
    const id = value(`${key}_token_id`);
    return typeof id === "number" && id < texts.length ? id : undefined;
  };
  const template = metadata.get("tokenizer.chat_template")?.value;
  const chatTemplate = typeof template === "string" ? template : undefined;
  const model = value("model");
  if (model === "llama") {
    const scores = array("scores") as readonly number[];
    const pieces = texts.map((text, id) => ({ text, score: scores[id] ?? 0, kind: kindOf[id]! }));
    const addDummyPrefix = value("add_space_prefix") !== false;
    writeFileSync(join(directory, "tokenizer.model"), encodeSentencePiece({ pieces, addDummyPrefix }));
    const added = texts.flatMap((content, id) =>
      kindOf[id] === "control" || kindOf[id] === "user-defined"
        ? [
            [
              String(id),
              { content, special: kindOf[id] === "control", lstrip: false, rstrip: false, normalized: false },
            ],
          ]
        : [],
    );
    const config = {
      tokenizer_class: "LlamaTokenizer",
      ...namesOf(texts, idOf),
      add_bos_token: value("add_bos_token") !== false,
      add_eos_token: false,
      added_tokens_decoder: Object.fromEntries(added) as Record<string, unknown>,
      clean_up_tokenization_spaces: false,
      legacy: false,
      ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    };
    writeFileSync(join(directory, "tokenizer_config.json"), `${JSON.stringify(config, null, 2)}\n`);
    return;
  }
  const splits = model === "gpt2" ? ggufSplits(String(value("pre") ?? "default")) : undefined;
  const eosId = idOf("eos");
  if (!splits || eosId === undefined) {
    throw new Failure(
      "input",
      `${path}: its vocabulary (${String(model)}, cut by ${JSON.stringify(value("pre") ?? null)}) cannot be written as tokenizer files.`,
      "Name the model's tokenizer with --tokenizer.",
    );
  }
  const specials = { bosId: idOf("bos"), eosId, padId: idOf("padding"), unknownId: idOf("unknown") };
  const tokens = texts.map((text, id): TokenEntry | undefined => {
    const kind = kindOf[id]!;
    const special = id === specials.bosId || id === eosId || id === specials.padId;
    if (kind === "unused" && !special) return undefined;
    if (special || kind === "control" || kind === "unknown") return { bytes: Buffer.from(text), kind: "control" };
    if (kind === "user-defined") return { bytes: Buffer.from(text), kind: "added" };
    return { bytes: unspellBytes(text) ?? Buffer.from(text), kind: "merged" };
  });
  saveTokenizer(directory, {
    tokens,
    merges: mergesOf(path, texts, array("merges") as readonly string[]),
    splits: splits.splits,
    normalizations: [],
    addPrefixSpace: value("add_space_prefix") === true,
    ignoreMerges: splits.ignoreMerges,
    ...specials,
    chatTemplate,
  });
}

function namesOf(texts: readonly string[], idOf: (key: string) => number | undefined): Record<string, string | null> {
  const name = (key: string) => {
    const id = idOf(key);
    return id === undefined ? null : texts[id]!;
  };
  return { bos_token: name("bos"), eos_token: name("eos"), unk_token: name("unknown"), pad_token: name("padding") };
}

function mergesOf(path: string, texts: readonly string[], merges: readonly string[]) {
  const ids = new Map(texts.map((text, id) => [text, id]));
  const columns = [0, 1, 2].map(() => new Int32Array(merges.length)) as [Int32Array, Int32Array, Int32Array];
  for (const [index, merge] of merges.entries()) {
    const cut = merge.indexOf(" ", 1);
    const [left, right] = [merge.slice(0, cut), merge.slice(cut + 1)];
    const found = [ids.get(left), ids.get(right), ids.get(left + right)];
    if (cut < 0 || found.includes(undefined)) {
      throw new Failure(
        "input",
        `${path}: merge ${index} of tokenizer.ggml.merges does not join two tokens to a third.`,
        "Get the file again; its vocabulary and merges belong together.",
      );
    }
    for (const [column, id] of found.entries()) columns[column]![index] = id!;
  }
  const [lefts, rights, results] = columns;
  return { lefts, rights, results };
}
