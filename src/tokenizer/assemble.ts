// A Tokenizer from its parts: what all algorithms share, once text can be turned into ids. Knows no file format.
import { chatDialectOf, createChatRenderer, encodePieces, TURN_ENDS } from "./chat.ts";
import type { ChatTemplates } from "./chat.ts";
import { fromUtf8, hashVocabulary } from "./data.ts";
import type { TokenEntry } from "./data.ts";
import { joinBytes } from "./ids.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface TokenizerParts {
  /** By id; undefined where an id is not used. */
  tokens: readonly (TokenEntry | undefined)[];
  /** Never yields a control token. */
  encode(text: string): Int32Array;
  addsLeadingSpace: boolean;
  /** Put before a text; undefined where the model wants none. */
  bosId: number | undefined;
  eosId: number;
  padId: number | undefined;
  /** More ids that end an answer; those outside the vocabulary are ignored. */
  stopIds?: readonly number[];
  templates: ChatTemplates;
  /** bos_token, eos_token ...: what templates call the control tokens. */
  names: Readonly<Record<string, string | undefined>>;
}

const NO_BYTES = new Uint8Array(0);

export function assembleTokenizer(parts: TokenizerParts): Tokenizer {
  const { tokens, encode, eosId, templates, names } = parts;
  const controlIds = new Map<string, number>();
  const texts = new Set<string>();
  tokens.forEach((token, id) => {
    if (token?.kind === "control" && !controlIds.has(fromUtf8(token.bytes))) controlIds.set(fromUtf8(token.bytes), id);
    else if (token?.kind === "added") texts.add(fromUtf8(token.bytes));
  });
  const isControl = (id: number) => tokens[id]?.kind === "control";
  const tokenBytes = (id: number) => (isControl(id) ? NO_BYTES : (tokens[id]?.bytes ?? NO_BYTES));
  const renderChat = createChatRenderer({ controlIds, tokens, templates, names });
  const turnEnds = TURN_ENDS.flatMap((name) => controlIds.get(name) ?? []);

  return {
    id: hashVocabulary(tokens.map((token) => token && { bytes: token.bytes, control: token.kind === "control" })),
    vocabSize: tokens.length,
    bosId: parts.bosId,
    eosId,
    padId: parts.padId,
    stopIds: [...new Set([eosId, ...turnEnds, ...(parts.stopIds ?? [])])].filter((id) => id < tokens.length),
    ...(parts.addsLeadingSpace ? { addsLeadingSpace: true as const } : {}),
    chatDialect: chatDialectOf({ controlIds, templates, hasText: (text) => texts.has(text) }),
    encode,
    decode(ids, { controls = "omit" } = {}) {
      const bytesOf = controls === "write" ? (id: number) => tokens[id]?.bytes ?? NO_BYTES : tokenBytes;
      const text = fromUtf8(joinBytes(ids, bytesOf));
      return parts.addsLeadingSpace && text.startsWith(" ") ? text.slice(1) : text;
    },
    tokenBytes,
    isControl,
    controlId: (name) => controlIds.get(name),
    encodeChat: (messages, options) => encodePieces(renderChat(messages, options), encode),
    renderChat,
  };
}

/** The names by which templates know the control tokens, from their ids. */
export function namesOf(
  tokens: readonly (TokenEntry | undefined)[],
  ids: { bosId: number | undefined; eosId: number; padId: number | undefined; unknownId: number | undefined },
): Record<string, string | undefined> {
  const nameOf = (id: number | undefined) => {
    const token = id === undefined ? undefined : tokens[id];
    return token && fromUtf8(token.bytes);
  };
  return {
    bos_token: nameOf(ids.bosId),
    eos_token: nameOf(ids.eosId),
    pad_token: nameOf(ids.padId),
    unk_token: nameOf(ids.unknownId),
  };
}
