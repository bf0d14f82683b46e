// Texts that others wrote, made safe to print: they must not steer the terminal.

/** All but tab and line feed. */
// oxlint-disable-next-line no-control-regex -- these are the ones to find
const controlCharacters = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** The text with U+FFFD for each control character. */
export function withoutControls(text: string): string {
  return text.replaceAll(controlCharacters, "\uFFFD");
}
