// The vocabulary that a GGUF file carries: SentencePiece BPE ("llama"), unigram ("t5") or byte-level BPE ("gpt2"), with
// its special ids and chat templates. Other kinds are refused by name.
import { openGguf } from "../formats/gguf.ts";
import type { GgufValue } from "../formats/gguf.ts";
import { pieceKinds, type PieceKind, type SentencePieceModel } from "../formats/sentencepiece.ts";
import { Failure } from "../protocol/errors.ts";
import { unspellBytes } from "./byte-characters.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { type ChatTemplates, TURN_ENDS } from "./chat.ts";
import { toUtf8 } from "./data.ts";
import type { TokenEntry } from "./data.ts";
import { ggufSplitNames, ggufSplits } from "./gguf-splits.ts";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import { chooseTemplates, MAX_IDS } from "./tokenizer-config.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What ends a turn or a text is a control token, though some files say otherwise; llama.cpp takes it so too. */
const ENDS = new Set<string>([...TURN_ENDS, "</s>", "<|end_of_text|>", "<EOT>"]);

interface Vocabulary {
  path: string;
  texts: readonly string[];
  kinds: readonly PieceKind[];
  scores: readonly number[];
  /** A key below "tokenizer.ggml.". */
  flag(key: string): boolean | undefined;
  text(key: string): string | undefined;
  array(key: string): readonly unknown[] | undefined;
  /** A special id, checked. */
  id(key: string): number | undefined;
  templates: ChatTemplates;
  /** White space after control tokens belongs to them. */
  controlsStrip: boolean;
}

/** Throws Failure("input") that names the file and the key which is missing, broken or of a kind not supported. */
export function loadGgufTokenizer(path: string): Tokenizer {
  const file = openGguf(path);
  file.close();
  const vocabulary = readVocabulary(path, file.metadata);
  const model = vocabulary.text("model");
  switch (model) {
    case "llama":
      return createPieces(vocabulary, "bpe");
    case "t5":
      return createPieces(vocabulary, "unigram");
    case "gpt2":
      return createBytes(vocabulary);
    case undefined:
      throw new Failure(
        "input",
        `${path} carries no vocabulary: there is no tokenizer.ggml.model.`,
        "Give the tokenizer of the model as a file of its own.",
      );
    default:
      throw new Failure(
        "input",
        `${path}: a vocabulary of kind ${JSON.stringify(model)} is not supported; llama, gpt2 and t5 are.`,
        "Give the tokenizer of the model as a file of its own.",
      );
  }
}

function readVocabulary(path: string, metadata: ReadonlyMap<string, GgufValue>): Vocabulary {
  const wrong = (key: string, expected: string) =>
    new Failure("input", `${path}: ${key} is missing or not ${expected}.`, "Get the file again from its source.");
  const value = (key: string) => metadata.get(`tokenizer.ggml.${key}`)?.value;
  const typed = <Value>(key: string, type: string): Value | undefined => {
    const found = value(key);
    if (found !== undefined && typeof found !== type) throw wrong(`tokenizer.ggml.${key}`, `a ${type}`);
    return found as Value | undefined;
  };
  const array = (key: string): readonly unknown[] | undefined => {
    const found = value(key);
    if (found !== undefined && !Array.isArray(found)) throw wrong(`tokenizer.ggml.${key}`, "an array");
    return found as readonly unknown[] | undefined;
  };
  const texts = array("tokens") ?? [];
  if (texts.length > MAX_IDS || texts.some((text) => typeof text !== "string")) {
    throw wrong("tokenizer.ggml.tokens", `an array of at most ${MAX_IDS} texts`);
  }
  const types = array("token_type") ?? texts.map(() => 1);
  const scores = array("scores") ?? texts.map(() => 0);
  if (types.length < texts.length) throw wrong("tokenizer.ggml.token_type", `an array of ${texts.length}`);
  if (scores.length < texts.length || scores.some((score) => typeof score !== "number" || Number.isNaN(score))) {
    throw wrong("tokenizer.ggml.scores", `an array of ${texts.length} numbers`);
  }
  const named = new Map<string, string>();
  for (const [key, { value: template }] of metadata) {
    const name = /^tokenizer\.chat_template(?:\.(.+))?$/.exec(key);
    if (name !== null && typeof template === "string") named.set(name[1] ?? "default", template);
  }
  const modelName = String(metadata.get("general.name")?.value ?? "").toLowerCase();
  const kindOf = (text: string, id: number) => {
    const kind = pieceKinds[types[id] as number] ?? "normal";
    return kind === "user-defined" && ENDS.has(text) ? "control" : kind;
  };
  return {
    path,
    texts: texts as readonly string[],
    kinds: (texts as readonly string[]).map(kindOf),
    scores: scores as readonly number[],
    flag: (key) => typed<boolean>(key, "boolean"),
    text: (key) => typed<string>(key, "string"),
    array,
    id(key) {
      const id = typed<number>(`${key}_token_id`, "number");
      // llama.cpp's files use 2^32 - 1 for none.
      if (id === undefined || id === 2 ** 32 - 1) return undefined;
      if (id >= texts.length) throw wrong(`tokenizer.ggml.${key}_token_id`, `below ${texts.length}`);
      return id;
    },
    templates: chooseTemplates(named),
    // Not in the file: Phi-3's tokenizer does so, and llama.cpp knows it by the model's name.
    controlsStrip: modelName.includes("phi-3") || modelName.includes("phi3"),
  };
}

const PLAIN_CONTROLS = new Set(["<unk>", "<s>", "<|endoftext|>"]);

function addedToken(vocabulary: Vocabulary, id: number): TokenEntry {
  const text = vocabulary.texts[id]!;
  return {
    bytes: toUtf8(text),
    kind: vocabulary.kinds[id] === "user-defined" ? "added" : "control",
    ...(vocabulary.controlsStrip && !PLAIN_CONTROLS.has(text) ? { stripRight: true } : {}),
  };
}

function stopIds(vocabulary: Vocabulary): number[] {
  return ["eot", "eom"].flatMap((key) => vocabulary.id(key) ?? []);
}

function createPieces(vocabulary: Vocabulary, algorithm: SentencePieceModel["algorithm"]): Tokenizer {
  const { path, texts, kinds: kindOf, scores } = vocabulary;
  const pieces = texts.map((text, id) => ({
    text,
    score: scores[id]!,
    // llama.cpp uses unused tokens like others; they are few and do not occur.
    kind: kindOf[id] === "unused" ? ("normal" as const) : kindOf[id]!,
  }));
  const added = new Map<number, TokenEntry>();
  kindOf.forEach((kind, id) => {
    if (kind === "user-defined" || kind === "control") added.set(id, addedToken(vocabulary, id));
  });
  const unigram = algorithm === "unigram";
  const charsmap = vocabulary.array("precompiled_charsmap") ?? [];
  const usual = unigram ? [undefined, 1] : [1, 2];
  return createSentencePieceTokenizer(
    {
      algorithm,
      pieces,
      bosPiece: "<s>",
      eosPiece: "</s>",
      padPiece: "<pad>",
      unknownSurface: " \u2047 ",
      byteFallback: kindOf.filter((kind) => kind === "byte").length >= 256,
      charsmap: Uint8Array.from(charsmap as readonly number[], (byte) => byte & 0xff),
      addDummyPrefix: vocabulary.flag("add_space_prefix") ?? true,
      removeExtraWhitespaces: unigram && (vocabulary.flag("remove_extra_whitespaces") ?? false),
      escapeWhitespaces: true,
    },
    {
      origin: path,
      added,
      bosId: vocabulary.id("bos") ?? usual[0],
      eosId: vocabulary.id("eos") ?? usual[1],
      padId: vocabulary.id("padding"),
      addBos: vocabulary.flag("add_bos_token") ?? !unigram,
      stopIds: stopIds(vocabulary),
      templates: vocabulary.templates,
    },
  );
}

function createBytes(vocabulary: Vocabulary): Tokenizer {
  const { path, texts, kinds: kindOf, templates } = vocabulary;
  const name = vocabulary.text("pre") ?? "default";
  const found = ggufSplits(name);
  if (found === undefined) {
    throw new Failure(
      "input",
      `${path}: its vocabulary cuts texts by the rule ${JSON.stringify(name)} (tokenizer.ggml.pre), which is not known here.`,
      `Give the model's tokenizer.json. Known are ${ggufSplitNames.join(", ")}.`,
    );
  }
  const idOfText = new Map<string, number>();
  const tokens = texts.map((text, id): TokenEntry | undefined => {
    const kind = kindOf[id]!;
    if (!idOfText.has(text)) idOfText.set(text, id);
    switch (kind) {
      case "normal":
      case "byte":
        return { bytes: unspellBytes(text) ?? toUtf8(text), kind: "merged" };
      case "user-defined":
      case "control":
      case "unknown":
        return addedToken(vocabulary, id);
      case "unused":
        return undefined;
      default:
        return kind satisfies never;
    }
  });
  const eosId = vocabulary.id("eos");
  if (eosId === undefined) {
    throw new Failure("input", `${path}: no token ends a text: there is no tokenizer.ggml.eos_token_id.`, "Check it.");
  }
  const specials = { bosId: vocabulary.id("bos"), eosId, padId: vocabulary.id("padding") };
  for (const id of Object.values(specials)) {
    if (id !== undefined) tokens[id] = { ...addedToken(vocabulary, id), kind: "control" };
  }
  return createByteLevelTokenizer(
    {
      tokens,
      merges: readMerges(vocabulary, idOfText),
      splits: found.splits,
      normalizations: [],
      addPrefixSpace: vocabulary.flag("add_space_prefix") ?? false,
      ignoreMerges: found.ignoreMerges,
      ...specials,
      unknownId: vocabulary.id("unknown"),
      chatTemplate: templates.usual,
    },
    { addBos: vocabulary.flag("add_bos_token") ?? found.addBos, stopIds: stopIds(vocabulary), templates },
  );
}

function readMerges({ path, array }: Vocabulary, idOfText: ReadonlyMap<string, number>) {
  const merges = array("merges") ?? [];
  const [lefts, rights, results] = [0, 1, 2].map(() => new Int32Array(merges.length)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  merges.forEach((merge, index) => {
    const cut = typeof merge === "string" ? merge.indexOf(" ", 1) : -1;
    const [left, right] = cut < 0 ? ["", ""] : [(merge as string).slice(0, cut), (merge as string).slice(cut + 1)];
    const ids = [idOfText.get(left), idOfText.get(right), idOfText.get(left + right)];
    if (ids.includes(undefined)) {
      throw new Failure(
        "input",
        `${path}: merge ${index} of tokenizer.ggml.merges, ${JSON.stringify(merge)}, does not join two tokens to a third.`,
        "Get the file again; its vocabulary and merges belong together.",
      );
    }
    [lefts[index], rights[index], results[index]] = ids as [number, number, number];
  });
  return { lefts, rights, results };
}
