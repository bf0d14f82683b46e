// Haystacks of an exact length in bytes, with something hidden at a depth: a needle between essays, a passkey among
// filler. As in "needle in a haystack" (Kamradt, 2023) and "passkey retrieval" (Mohtashami and Jaggi, arXiv 2305.16300).
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Trial {
  prompt: string;
  /** What the answer must begin with. */
  expected: string;
}

const needle = "The best thing to do in San Francisco is";
const found = " eat a sandwich and sit in Dolores Park on a sunny day.";
const filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";

/** Essays of a directory as one text of plain characters, each of one byte; filler where there are none. */
export function readEssays(directory: string, bytes: number): string {
  let text = "";
  for (const name of readdirSync(directory)
    .filter((each) => each.endsWith(".txt"))
    .sort()) {
    text += `${readFileSync(join(directory, name), "utf8").replace(/[^\x20-\x7e\n]/g, " ")}\n\n`;
    if (text.length >= bytes) break;
  }
  while (text.length < bytes) text += filler;
  return text.slice(0, bytes);
}

/** A needle, a line of its own, at a share of the way through; the prompt has `bytes` bytes. */
export function needleTrial(essays: string, bytes: number, depth: number): Trial {
  const hidden = `\n${needle}${found}\n`;
  const question = `\n\nWhat is the best thing to do in San Francisco?\n${needle}`;
  return { prompt: hide(essays, hidden, question, bytes, depth), expected: found };
}

/** A number of five digits, twice in one sentence as in the paper. */
export function passkeyTrial(bytes: number, depth: number, passkey: string): Trial {
  const hidden = `The pass key is ${passkey}. Remember it. `;
  const question = "What is the pass key? The pass key is";
  const hay = filler.repeat(Math.ceil(bytes / filler.length));
  return { prompt: hide(hay, hidden, question, bytes, depth), expected: ` ${passkey}. Remember it.` };
}

function hide(hay: string, hidden: string, question: string, bytes: number, depth: number): string {
  const room = bytes - hidden.length - question.length;
  const at = Math.floor(room * depth);
  return hay.slice(0, at) + hidden + hay.slice(at, room) + question;
}
