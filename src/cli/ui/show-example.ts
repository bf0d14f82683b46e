// An example token by token with what of it is learnt, in colours on a terminal, with plain marks elsewhere.
import type { Tokenizer } from "../../tokenizer/index.ts";
import { withoutControls } from "./controls.ts";
import { pad } from "./width.ts";

export interface ShownExample {
  tokens: Int32Array;
  /** The token after each, negative where nothing is learnt. */
  targets: Int32Array;
}

export type ShowStyle = "colours" | "plain";

type Mark = "masked" | "learnt" | "control" | "learnt control";

/** Two shades of each, in turn, so that the borders of tokens are seen. */
const colours: Record<Mark, readonly [string, string]> = {
  masked: ["\u001b[90m", "\u001b[37m"],
  learnt: ["\u001b[32m", "\u001b[92m"],
  control: ["\u001b[35m", "\u001b[35m"],
  "learnt control": ["\u001b[1;33m", "\u001b[1;33m"],
};
const plainMarks: Record<Mark, string> = { masked: " ", learnt: "+", control: " ", "learnt control": "+" };
const off = "\u001b[0m";

interface ShownToken {
  id: number;
  text: string;
  mark: Mark;
}

/** The tokens in their order, the last target included. */
function shownTokens(tokenizer: Tokenizer, { tokens, targets }: ShownExample): ShownToken[] {
  const last = targets.at(-1);
  const ids = [...tokens, ...(last !== undefined && last >= 0 ? [last] : [])];
  return ids.map((id, index) => {
    const isLearnt = index > 0 && targets[index - 1]! >= 0;
    const isControl = tokenizer.isControl(id);
    return {
      id,
      text: textOf(tokenizer, id),
      mark: isControl ? (isLearnt ? "learnt control" : "control") : isLearnt ? "learnt" : "masked",
    };
  });
}

/** A token alone; bytes that are no character by themselves as ⟨e4⟩. */
function textOf(tokenizer: Tokenizer, id: number): string {
  if (tokenizer.isControl(id)) return tokenizer.decode([id], { controls: "write" });
  const bytes = tokenizer.tokenBytes(id);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return [...bytes].map((byte) => `⟨${byte.toString(16).padStart(2, "0")}⟩`).join("");
  }
}

/** Line breaks are shown and kept; nothing in the data moves the cursor or changes colours. */
const visible = (text: string): string => withoutControls(text.replaceAll("\n", "⏎\n"));

/**
 * The example as running text. Plain: what is learnt stands in [brackets], and a dot stands between two tokens.
 */
export function showExample(tokenizer: Tokenizer, example: ShownExample, style: ShowStyle): string {
  const tokens = shownTokens(tokenizer, example);
  if (style === "colours") {
    const legend = (["masked", "learnt", "control", "learnt control"] as const).map(
      (mark) => colours[mark][0] + mark + off,
    );
    const text = tokens.map(({ text: each, mark }, index) => `${colours[mark][index % 2]!}${visible(each)}${off}`);
    return `${legend.join(" ")}\n${text.join("")}`;
  }
  let text = "";
  let open = false;
  for (const [index, token] of tokens.entries()) {
    const isLearnt = token.mark.startsWith("learnt");
    if (isLearnt !== open) text += isLearnt ? "[" : "]";
    else if (index > 0) text += "·";
    open = isLearnt;
    text += visible(token.text);
  }
  return `What is learnt stands in brackets.\n${text}${open ? "]" : ""}`;
}

/** A line a token: place, id, mark and text as JSON. */
export function showTokens(tokenizer: Tokenizer, example: ShownExample, style: ShowStyle): string {
  const tokens = shownTokens(tokenizer, example);
  const width = `${tokens.length}`.length;
  const idWidth = Math.max(...tokens.map(({ id }) => `${id}`.length));
  return tokens
    .map(({ id, text, mark }, index) => {
      const place = `${pad(`${index}`, width, "left")} ${pad(`${id}`, idWidth, "left")}`;
      const shown = mark.endsWith("control")
        ? withoutControls(text)
        : JSON.stringify(withoutControls(text.replaceAll("\n", "⏎")));
      return style === "colours"
        ? `${place} ${colours[mark][0]}${shown}${off}`
        : `${place} ${plainMarks[mark]} ${shown}`;
    })
    .join("\n");
}
