// The pre-tokenizers of tokenizer.json: how a text is cut into the pieces that merges never cross. Each component is a
// step that takes a piece and gives smaller ones. Steps after ByteLevel see its stand-ins for bytes.
import { byteCharacters, spellBytes } from "./byte-characters.ts";
import { alternation, toUtf8 } from "./data.ts";
import { createPreTokenizer, GPT2_PATTERN, type SplitStep } from "./pre-tokenizer.ts";
import { type Component, flatten, patternSchema, type Unsupported } from "./tokenizer-json-schema.ts";

/** Gives out the pieces in order, none empty. `atStart`: the piece begins where the whole text does. */
export type PieceSplitter = (text: string, atStart: boolean, emit: (piece: string, first: boolean) => void) => void;

export interface PreTokenizerPlan {
  split: PieceSplitter;
  /** Pieces come out in ByteLevel's stand-ins. */
  byteLevel: boolean;
  /** The same as patterns alone, where it is no more than that. */
  simple: { splits: SplitStep[]; addPrefixSpace: boolean } | undefined;
}

type Behavior = "Isolated" | "Removed" | "Contiguous" | "MergedWithPrevious" | "MergedWithNext";
const behaviors = new Set<string>(["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]);

const PUNCTUATION = String.raw`[!-/:-@\[-\x60{-~\p{P}]`;

/** Throws what `unsupported` makes for a kind that is not known. */
export function readPreTokenizer(component: Component | null | undefined, unsupported: Unsupported): PreTokenizerPlan {
  const steps: PieceSplitter[] = [];
  let simple: PreTokenizerPlan["simple"] = { splits: [], addPrefixSpace: false };
  let byteLevel = false;
  const isolate = (pattern: string) => {
    steps.push(splitter(pattern, "Isolated", false));
    if (byteLevel) simple = undefined;
    else simple?.splits.push({ pattern });
  };
  const split = (pattern: string, behavior: Behavior, inverted: boolean) => {
    if (behavior === "Isolated") return isolate(pattern);
    steps.push(splitter(pattern, behavior, inverted));
    // Removing what does not match equals isolating what does, for patterns that match all of a text.
    if (behavior === "Removed" && inverted && !byteLevel) simple?.splits.push({ pattern });
    else simple = undefined;
  };
  const behaviorOf = (part: Component, usual: Behavior): Behavior => {
    const behavior = String(part["behavior"] ?? usual);
    if (!behaviors.has(behavior)) throw unsupported(`a ${part.type} pre-tokenizer with the behavior "${behavior}"`);
    return behavior as Behavior;
  };

  const parts = flatten(component, "pretokenizers", unsupported);
  for (const [index, part] of parts.entries()) {
    switch (part.type) {
      case "ByteLevel":
        if (byteLevel) throw unsupported("ByteLevel twice");
        if (part["add_prefix_space"] === true) {
          steps.push((text, _, emit) => emit(text.startsWith(" ") ? text : ` ${text}`, true));
          if (index > 0) simple = undefined;
          else if (simple !== undefined) simple.addPrefixSpace = true;
        }
        if (part["use_regex"] !== false) isolate(GPT2_PATTERN);
        byteLevel = true;
        steps.push((text, _, emit) => emit(spell(text), true));
        break;
      case "Split": {
        const parsed = patternSchema.safeParse(part["pattern"]);
        if (!parsed.success) throw unsupported("a Split pre-tokenizer without a pattern");
        const pattern = "String" in parsed.data ? alternation([parsed.data.String])! : parsed.data.Regex;
        split(pattern, behaviorOf(part, "Isolated"), part["invert"] === true);
        break;
      }
      case "Digits":
        isolate(part["individual_digits"] === true ? String.raw`\p{N}` : String.raw`\p{N}+`);
        break;
      case "Punctuation": {
        split(PUNCTUATION, behaviorOf(part, "Isolated"), false);
        break;
      }
      case "Whitespace":
        split(
          String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200c\u200d\s]+`,
          "Removed",
          true,
        );
        simple = undefined;
        break;
      case "WhitespaceSplit":
        split(String.raw`\s`, "Removed", false);
        break;
      case "CharDelimiterSplit":
        split(alternation([String(part["delimiter"])])!, "Removed", false);
        break;
      case "BertPreTokenizer":
        split(String.raw`\s`, "Removed", false);
        split(PUNCTUATION, "Isolated", false);
        break;
      case "Metaspace":
        steps.push(metaspace(part));
        simple = undefined;
        break;
      default:
        throw unsupported(`a pre-tokenizer of type "${part.type}"`);
    }
  }
  return { split: chain(steps), byteLevel, simple: byteLevel ? simple : undefined };
}

function chain([first, ...rest]: readonly PieceSplitter[]): PieceSplitter {
  if (first === undefined) {
    return (text, _, emit) => {
      if (text !== "") emit(text, true);
    };
  }
  if (rest.length === 0) return first;
  const further = chain(rest);
  return (text, atStart, emit) => {
    first(text, atStart, (piece, isFirst) =>
      further(piece, atStart && isFirst, (smaller, isSmallerFirst) => emit(smaller, isFirst && isSmallerFirst)),
    );
  };
}

const ascii = /^[!-~]*$/;

function spell(text: string): string {
  if (ascii.test(text)) return text;
  let spelled = "";
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit >= 0x80) return spellBytes(toUtf8(text));
    spelled += byteCharacters[unit]!;
  }
  return spelled;
}

function splitter(pattern: string, behavior: Behavior, inverted: boolean): PieceSplitter {
  if (behavior === "Isolated") {
    const isolate = createPreTokenizer([{ pattern }]);
    return (text, _, emit) => {
      let first = true;
      isolate(text, (piece) => {
        emit(piece, first);
        first = false;
      });
    };
  }
  const isolate = createPreTokenizer([{ pattern }]);
  return (text, _, emit) => {
    const pieces: string[] = [];
    const matched: boolean[] = [];
    isolate(text, (piece, isMatch) => {
      pieces.push(piece);
      matched.push(isMatch !== inverted);
    });
    let begun = 0;
    const give = (end: number, skip = false) => {
      if (end > begun && !skip)
        emit(end === begun + 1 ? pieces[begun]! : pieces.slice(begun, end).join(""), begun === 0);
      begun = end;
    };
    for (let index = 0; index < pieces.length; index++) {
      const is = matched[index]!;
      const was = index > 0 && matched[index - 1]!;
      switch (behavior) {
        case "Removed":
          give(index + 1, is);
          break;
        case "Contiguous":
          if (index > 0 && is !== was) give(index);
          break;
        case "MergedWithPrevious":
          // A match joins what stands before it, unless that is a match too.
          if (!is || was) give(index);
          break;
        case "MergedWithNext":
          if (is || !was) give(index);
          break;
        default:
          behavior satisfies never;
      }
    }
    if (behavior !== "Removed") give(pieces.length);
  };
}

function metaspace(part: Component): PieceSplitter {
  const replacement = String(part["replacement"] ?? "\u2581");
  const scheme = part["prepend_scheme"] ?? (part["add_prefix_space"] === false ? "never" : "always");
  const cut = part["split"] !== false;
  return (text, atStart, emit) => {
    let replaced = text.replaceAll(" ", replacement);
    const prepends = scheme === "always" || (scheme === "first" && atStart);
    if (prepends && !replaced.startsWith(replacement)) replaced = replacement + replaced;
    if (!cut) return emit(replaced, true);
    let begin = 0;
    while (begin < replaced.length) {
      const next = replaced.indexOf(replacement, begin + replacement.length);
      const end = next < 0 || next === begin ? replaced.length : next;
      emit(replaced.slice(begin, end), begin === 0);
      begin = end;
    }
  };
}
