// The printable stand-ins that GPT-2's files use for bytes: each of the 256 bytes is one character, so that a
// vocabulary of byte strings can be written as JSON text. Only this mapping; no tokenization.

/** Stand-in of each byte: printable Latin-1 stands for itself, the rest for U+0100 and on, in order. */
export const byteCharacters: readonly string[] = (() => {
  const isPrintable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let others = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : 256 + others++));
})();

const byteOfCharacter = new Map(byteCharacters.map((character, byte) => [character, byte]));

/** The 256 bytes in the order of their stand-ins: the order in which GPT-2's vocabulary lists them. */
export const bytesInVocabularyOrder: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).sort((a, b) =>
  byteCharacters[a]! < byteCharacters[b]! ? -1 : 1,
);

/** Writes bytes as stand-ins. */
export function spellBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byteCharacters[byte]!;
  return text;
}

/** Reads stand-ins back; undefined where the text holds a character that stands for no byte. */
export function unspellBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) {
    const byte = byteOfCharacter.get(text[index]!);
    if (byte === undefined) return undefined;
    bytes[index] = byte;
  }
  return bytes;
}
