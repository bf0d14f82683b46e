// Writes tokenizer.json and tokenizer_config.json, so that transformers, vLLM and llama.cpp read what was trained here.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { spellBytes } from "./byte-characters.ts";
import { fromUtf8 } from "./data.ts";
import type { TokenizerData } from "./data.ts";
import type { SplitStep } from "./pre-tokenizer.ts";
import { TOKENIZER_CONFIG_NAME } from "./tokenizer-config.ts";
import { TOKENIZER_NAME } from "./tokenizer-json.ts";

/** Writes tokenizer.json and tokenizer_config.json into a directory that exists. Reading them gives an equal tokenizer. */
export function saveTokenizer(dir: string, data: TokenizerData): void {
  writeFileSync(join(dir, TOKENIZER_NAME), writeTokenizerJson(data));
  writeFileSync(join(dir, TOKENIZER_CONFIG_NAME), `${JSON.stringify(toConfig(data), null, 2)}\n`);
}

function textOf(data: TokenizerData, id: number): string {
  const { bytes, kind } = data.tokens[id]!;
  return kind === "merged" ? spellBytes(bytes) : fromUtf8(bytes);
}

/** JSON text of tokenizer.json. The vocabulary is written by hand: any text, "__proto__" too, is a key of it. */
function writeTokenizerJson(data: TokenizerData): string {
  const ids = [...data.tokens.keys()].filter((id) => data.tokens[id] !== undefined);
  const byteLevel = { type: "ByteLevel", add_prefix_space: data.addPrefixSpace, trim_offsets: true, use_regex: false };
  const isolate = ({ pattern }: SplitStep) => ({
    type: "Split",
    pattern: { Regex: pattern },
    behavior: "Isolated",
    invert: false,
  });
  const normalizers = data.normalizations.map((type) => ({ type }));
  const bos = data.bosId === undefined ? undefined : textOf(data, data.bosId);
  const whole = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: ids
      .filter((id) => data.tokens[id]!.kind !== "merged")
      .map((id) => ({
        id,
        content: textOf(data, id),
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: data.tokens[id]!.kind === "control",
      })),
    normalizer: normalizers.length === 0 ? null : { type: "Sequence", normalizers },
    pre_tokenizer: { type: "Sequence", pretokenizers: [...data.splits.map(isolate), byteLevel] },
    post_processor:
      bos === undefined
        ? { ...byteLevel, add_prefix_space: true }
        : {
            type: "TemplateProcessing",
            single: [{ SpecialToken: { id: bos, type_id: 0 } }, sequence("A", 0)],
            pair: [
              { SpecialToken: { id: bos, type_id: 0 } },
              sequence("A", 0),
              { SpecialToken: { id: bos, type_id: 1 } },
              sequence("B", 1),
            ],
            special_tokens: { [bos]: { id: bos, ids: [data.bosId], tokens: [bos] } },
          },
    decoder: { ...byteLevel, use_regex: true },
  };
  const vocabulary = ids.map((id) => `${JSON.stringify(textOf(data, id))}:${id}`).join(",\n");
  const { lefts, rights } = data.merges;
  const merges = Array.from(lefts, (left, index) => `${textOf(data, left)} ${textOf(data, rights[index]!)}`);
  const model = {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: data.ignoreMerges,
  };
  const head = JSON.stringify(whole, null, 1).slice(0, -2);
  const mergeLines = merges.map((merge) => JSON.stringify(merge)).join(",\n");
  return `${head},
 "model": {
${JSON.stringify(model, null, 1).slice(2, -2)},
"vocab": {
${vocabulary}
},
"merges": [
${mergeLines}
]}
}
`;
}

/** One sequence of a TemplateProcessing. */
function sequence(id: "A" | "B", typeId: number): Record<string, unknown> {
  return { Sequence: { id, type_id: typeId } };
}

function toConfig(data: TokenizerData): Record<string, unknown> {
  const name = (id: number | undefined) => (id === undefined ? null : textOf(data, id));
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: name(data.bosId),
    eos_token: name(data.eosId),
    pad_token: name(data.padId),
    unk_token: name(data.unknownId),
    clean_up_tokenization_spaces: false,
    ...(data.chatTemplate === undefined ? {} : { chat_template: data.chatTemplate }),
  };
}
