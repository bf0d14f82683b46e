// Tokens that are found in a text as they stand, before anything else cuts it: added tokens that are no control tokens.
// Leftmost first, the longest of those that begin at one place.
import { alternation } from "./data.ts";

export interface AddedToken {
  id: number;
  text: string;
  /** Never found; where `controlsHide` is set, what it spells is not searched for other tokens either. */
  control: boolean;
  /** Takes the white space before and after it along. */
  stripLeft: boolean;
  stripRight: boolean;
  /** Only where no letter or digit touches it. */
  singleWord: boolean;
}

export interface AddedTokenSplitter {
  (text: string, onText: (stretch: string, begin: number) => void, onToken: (id: number) => void): void;
}

const endsWithWord = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]$/u;
const startsWithWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]/u;
const spacesAtStart = /^\p{White_Space}*/u;
const isSpace = /^\p{White_Space}$/u;

/** Calls onText for the stretches between tokens (never empty) and onToken for the tokens, in order. */
export function createAddedTokenSplitter(
  tokens: readonly AddedToken[],
  { controlsHide = false }: { controlsHide?: boolean } = {},
): AddedTokenSplitter {
  const byText = new Map<string, AddedToken>();
  for (const token of tokens) {
    if (token.text !== "" && (controlsHide || !token.control) && !byText.has(token.text)) byText.set(token.text, token);
  }
  if (![...byText.values()].some((token) => !token.control)) {
    return (text, onText) => {
      if (text !== "") onText(text, 0);
    };
  }
  const pattern = new RegExp(alternation([...byText.keys()])!, "g");

  return (text, onText, onToken) => {
    let position = 0;
    for (const match of text.matchAll(pattern)) {
      const token = byText.get(match[0])!;
      if (token.control) continue;
      let begin = match.index;
      let end = begin + match[0].length;
      if (begin < position) continue;
      if (
        token.singleWord &&
        (endsWithWord.test(text.slice(Math.max(0, begin - 2), begin)) || startsWithWord.test(text.slice(end, end + 2)))
      )
        continue;
      while (token.stripLeft && begin > position && isSpace.test(text[begin - 1]!)) begin--;
      if (token.stripRight) end += spacesAtStart.exec(text.slice(end))![0].length;
      if (begin > position) onText(text.slice(position, begin), position);
      onToken(token.id);
      position = end;
    }
    if (position < text.length) onText(position === 0 ? text : text.slice(position), position);
  };
}
