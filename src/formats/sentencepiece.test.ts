import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { parseSentencePiece } from "./sentencepiece.ts";

const varint = (value: number): number[] => (value < 128 ? [value] : [(value % 128) + 128, ...varint(value >> 7)]);
const message = (number: number, bytes: readonly number[]) => [
  ...varint(number * 8 + 2),
  ...varint(bytes.length),
  ...bytes,
];
const flag = (number: number, value: number) => [...varint(number * 8), ...varint(value)];
const text = (number: number, value: string) => message(number, [...Buffer.from(value)]);
const float = (number: number, value: number) => [number * 8 + 5, ...new Uint8Array(Float32Array.of(value).buffer)];
const piece = (value: string, score: number, kind?: number) =>
  message(1, [...text(1, value), ...float(2, score), ...(kind === undefined ? [] : flag(3, kind))]);

const parse = (...fields: number[][]) => parseSentencePiece(Uint8Array.from(fields.flat()), "here");

test("pieces, kinds and settings, with the defaults of the format", () => {
  const model = parse(
    piece("<unk>", 0, 2),
    piece("\u2581a", -1.5),
    piece("<0x41>", 0, 6),
    message(2, [...flag(3, 2), ...flag(35, 1), ...text(44, "?"), ...text(46, "[B]"), ...flag(41, 300)]),
    message(3, [...text(1, "x"), ...message(2, [1, 2]), ...flag(3, 0), ...flag(4, 0)]),
    message(4, [0xff]),
  );
  assert.deepEqual(model, {
    algorithm: "bpe",
    pieces: [
      { text: "<unk>", score: 0, kind: "unknown" },
      { text: "\u2581a", score: -1.5, kind: "normal" },
      { text: "<0x41>", score: 0, kind: "byte" },
    ],
    bosPiece: "[B]",
    eosPiece: "</s>",
    padPiece: "<pad>",
    unknownSurface: "?",
    byteFallback: true,
    charsmap: Uint8Array.of(1, 2),
    addDummyPrefix: false,
    removeExtraWhitespaces: false,
    escapeWhitespaces: true,
  });
  const plain = parse(piece("a", 0));
  assert.deepEqual([plain.algorithm, plain.addDummyPrefix, plain.removeExtraWhitespaces], ["unigram", true, true]);
});

test("what is broken or not supported is refused and named", () => {
  const refuses = (pattern: RegExp, ...fields: number[][]) =>
    assert.throws(
      () => parse(...fields),
      (error) => error instanceof Failure && error.kind === "input" && pattern.test(error.message),
      String(pattern),
    );
  refuses(/no pieces/);
  refuses(/past the \d+ bytes/, [10, 100, 1]);
  refuses(/cut short/, [10, 0xff]);
  refuses(/wire type 3/, [11]);
  refuses(/number 0/, [2]);
  refuses(
    /ten bytes/,
    Array.from({ length: 12 }, () => 0xff),
  );
  refuses(/piece 0 has 5000 bytes/, piece("a".repeat(5000), 0));
  refuses(/piece 0 is not UTF-8/, message(1, message(1, [0xff])));
  refuses(/score of piece 0/, piece("a", Number.NaN));
  refuses(/kind 9/, piece("a", 0, 9));
  refuses(/type word/, piece("a", 0), message(2, flag(3, 3)));
  refuses(/suffix/, piece("a", 0), message(2, flag(24, 1)));
  refuses(/denormalizer/, piece("a", 0), message(5, message(2, [1])));
});
