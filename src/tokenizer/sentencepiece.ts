// A Tokenizer from SentencePiece BPE pieces with scores, as llama2.c's tokenizer files hold them: the adjacent pair
// whose join has the best score is joined first; characters without a piece become bytes. Not the protobuf format.
import { Failure } from "../protocol/errors.ts";
import { createChatEncoder } from "./chat.ts";
import { fromUtf8, hashVocabulary } from "./data.ts";
import { joinBytes } from "./ids.ts";
import { createMergeTable, mergeSymbols } from "./merge.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface SentencePiece {
  bytes: Uint8Array;
  score: number;
}

const [UNKNOWN, BOS, EOS, FIRST_BYTE] = [0, 1, 2, 3];
const CONTROL_NAMES = ["<unk>", "<s>", "</s>"];
const FIRST_PIECE = FIRST_BYTE + 256;
const NO_BYTES = new Uint8Array(0);

/** `pieces` by id: unknown, BOS, EOS, the 256 bytes, then the vocabulary. `origin` names the file in errors. */
export function createSentencePieceTokenizer(pieces: readonly SentencePiece[], origin: string): Tokenizer {
  if (pieces.length < FIRST_PIECE) {
    throw new Failure(
      "input",
      `${origin} has ${pieces.length} pieces; ${FIRST_PIECE} are needed for the control tokens and the bytes alone`,
      "Give the tokenizer that the model was trained with.",
    );
  }
  const texts = pieces.map((piece) => fromUtf8(piece.bytes));
  const idOfText = new Map<string, number>();
  for (let id = FIRST_PIECE; id < pieces.length; id++) {
    if (texts[id] !== "" && !idOfText.has(texts[id]!)) idOfText.set(texts[id]!, id);
  }
  const merges = createScoreMerges(pieces, texts, idOfText);

  function encode(text: string): Int32Array {
    if (text === "") return new Int32Array(0);
    const characters = ` ${text.toWellFormed()}`;
    // A character is at most as many ids as it has UTF-8 bytes: three for a UTF-16 unit.
    const ids = new Int32Array(characters.length * 3);
    let count = 0;
    for (const character of characters) {
      const id = idOfText.get(character);
      if (id !== undefined) ids[count++] = id;
      else for (const byte of Buffer.from(character)) ids[count++] = FIRST_BYTE + byte;
    }
    return ids.slice(0, mergeSymbols(ids, count, merges));
  }

  const isControl = (id: number) => id >= UNKNOWN && id < FIRST_BYTE;
  const byteTokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const tokenBytes = (id: number) =>
    isControl(id)
      ? NO_BYTES
      : id >= FIRST_BYTE && id < FIRST_PIECE
        ? byteTokens[id - FIRST_BYTE]!
        : (pieces[id]?.bytes ?? NO_BYTES);
  const controlIds = new Map(CONTROL_NAMES.map((name, id) => [name, id]));

  return {
    id: hashVocabulary(
      pieces.map((_, id) =>
        isControl(id)
          ? { bytes: Buffer.from(CONTROL_NAMES[id]!), control: true }
          : { bytes: tokenBytes(id), control: false },
      ),
    ),
    vocabSize: pieces.length,
    bosId: BOS,
    eosId: EOS,
    padId: undefined,
    stopIds: [EOS],
    addsLeadingSpace: true,
    encode,
    decode(ids) {
      const text = fromUtf8(joinBytes(ids, tokenBytes));
      return text.startsWith(" ") ? text.slice(1) : text;
    },
    tokenBytes,
    isControl,
    controlId: (name) => controlIds.get(name),
    encodeChat: createChatEncoder({ encode, controlIds, template: undefined, names: {} }),
  };
}

/** Every way in which a piece is two other pieces; pieces of equal score have equal rank. */
function createScoreMerges(
  pieces: readonly SentencePiece[],
  texts: readonly string[],
  idOfText: ReadonlyMap<string, number>,
): ReturnType<typeof createMergeTable> {
  const scores = [...new Set(pieces.slice(FIRST_PIECE).map((piece) => piece.score))].sort((a, b) => b - a);
  const rankOfScore = new Map(scores.map((score, rank) => [score, rank]));
  const lefts: number[] = [];
  const rights: number[] = [];
  const results: number[] = [];
  const ranks: number[] = [];
  for (const [text, id] of idOfText) {
    for (let cut = 1; cut < text.length; cut++) {
      const left = idOfText.get(texts[id]!.slice(0, cut));
      const right = idOfText.get(texts[id]!.slice(cut));
      if (left === undefined || right === undefined) continue;
      lefts.push(left);
      rights.push(right);
      results.push(id);
      ranks.push(rankOfScore.get(pieces[id]!.score)!);
    }
  }
  return createMergeTable(lefts, rights, Int32Array.from(results), Int32Array.from(ranks));
}
