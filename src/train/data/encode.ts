// Dialogues to ids and a mask of what is learnt: what the assistant says and calls, and the end of its turn.
// Where an answer begins and ends is found by rendering the dialogue up to there: no template is known by name.
import { Failure } from "../../protocol/errors.ts";
import type { Message, ToolDefinition } from "../../protocol/message.ts";
import { withPlainTools, type ChatPiece, type Tokenizer } from "../../tokenizer/index.ts";
import type { Example } from "../sampler.ts";
import type { Dialogue, DialogueMessage } from "./record.ts";

/**
 * How far an answer is learnt: "xtuner" up to the control token that ends the turn, "llama-factory" also what the
 * template writes after it (with ChatML a line break).
 */
export const maskDialects = ["xtuner", "llama-factory"] as const;
export type MaskDialect = (typeof maskDialects)[number];

export interface EncodeOptions {
  /** Default "xtuner". */
  mask?: MaskDialect;
  /** Of the answers that are learnt, the last alone. */
  lastTurnOnly?: boolean;
  /** More variables of the chat template. */
  templateOptions?: Readonly<Record<string, unknown>>;
}

export interface EncodedDialogue extends Example {
  /** Lengths to which the example can be cut so that it ends with a whole answer, rising. */
  turnEnds: number[];
}

/** A place in rendered pieces: so many characters into the piece. */
interface RenderedPlace {
  piece: number;
  offset: number;
}

/**
 * The examples of a dialogue: one, or several where the template renders an answer otherwise once more is said (as
 * those do that drop earlier thoughts): then each answer is learnt behind what the model would see when it gives it.
 * None where no answer is learnt.
 * @throws Failure "input" where the template refuses the dialogue, or renders what was said before an answer otherwise.
 */
export function encodeDialogue(
  tokenizer: Tokenizer,
  dialogue: Dialogue,
  options: EncodeOptions = {},
): EncodedDialogue[] {
  const { messages, render } = rendererOf(tokenizer, dialogue.messages, dialogue.tools, options);
  const learnt = messages.flatMap(({ role, loss = true }, index) => (role === "assistant" && loss ? [index] : []));
  let pending = options.lastTurnOnly ? learnt.slice(-1) : learnt;
  const examples: EncodedDialogue[] = [];
  while (pending.length > 0) {
    const last = pending.at(-1)!;
    const whole = render(last + 1);
    const spans: Span[] = [];
    const otherwise: number[] = [];
    for (const index of pending) {
      const through = index === last ? whole : render(index + 1);
      if (index !== last && !isWhole(through, sharedPlace(through, whole))) otherwise.push(index);
      else spans.push(spanOf(through, index, render, options.mask ?? "xtuner"));
    }
    examples.push(encodeSpans(tokenizer, whole, spans));
    pending = otherwise;
  }
  return examples.reverse();
}

/** An answer of its own dialogue, learnt alone: a side of a preference pair. Throws as `encodeDialogue`. */
export function encodeAnswer(
  tokenizer: Tokenizer,
  prompt: readonly Message[],
  answer: readonly Message[],
  tools: readonly ToolDefinition[] | undefined,
  options: EncodeOptions = {},
): Example {
  const messages = [...prompt.map((message) => ({ ...message, loss: false })), ...answer];
  const [example, ...more] = encodeDialogue(
    tokenizer,
    { kind: "dialogue", messages, ...(tools && { tools: [...tools] }) },
    options,
  );
  if (example === undefined) throw new Failure("input", "nothing of the answer is said by the assistant");
  if (more.length > 0) {
    throw new Failure(
      "input",
      "the chat template renders the parts of the answer otherwise once more is said, so they have no loss in common",
      "Give an answer of one message.",
    );
  }
  return { tokens: example.tokens, targets: example.targets };
}

/** The ids after which the model answers. */
export function encodePrompt(
  tokenizer: Tokenizer,
  prompt: readonly Message[],
  tools: readonly ToolDefinition[] | undefined,
  options: EncodeOptions = {},
): Int32Array {
  const { messages, render } = rendererOf(tokenizer, prompt, tools, options);
  return encodeSpans(tokenizer, render(messages.length, true), []).ids;
}

type Render = (count: number, addGenerationPrompt?: boolean) => readonly ChatPiece[];

/** Renders the beginning of a dialogue; tools are explained in words to a model whose template does not know them. */
function rendererOf(
  tokenizer: Tokenizer,
  given: readonly DialogueMessage[],
  tools: readonly ToolDefinition[] = [],
  { templateOptions }: EncodeOptions,
): { messages: readonly DialogueMessage[]; render: Render } {
  const usesTools = tools.length > 0 || given.some(({ role, toolCalls }) => role === "tool" || toolCalls !== undefined);
  const inWords = usesTools && !knowsTools(tokenizer);
  const messages: readonly DialogueMessage[] = inWords ? withPlainTools(given, tools) : given;
  return {
    messages,
    render: (count, addGenerationPrompt = false) =>
      tokenizer.renderChat(messages.slice(0, count), {
        addGenerationPrompt,
        ...(tools.length > 0 && !inWords && { tools }),
        ...(templateOptions && { templateOptions }),
      }),
  };
}

const known = new WeakMap<Tokenizer, boolean>();

/** Whether the template writes tools: one that knows none gives the same dialogue without them. */
function knowsTools(tokenizer: Tokenizer): boolean {
  let knows = known.get(tokenizer);
  if (knows === undefined) {
    const messages: Message[] = [{ role: "user", content: "?" }];
    const tools = [{ name: "look", description: "Looks.", parameters: { type: "object", properties: {} } }];
    knows =
      tokenizer.chatDialect !== "plain" &&
      tokenizer.renderChat(messages, { tools }).join() !== tokenizer.renderChat(messages).join();
    known.set(tokenizer, knows);
  }
  return knows;
}

/** How far two renderings are the same. */
function sharedPlace(one: readonly ChatPiece[], other: readonly ChatPiece[]): RenderedPlace {
  let piece = 0;
  while (piece < one.length && one[piece] === other[piece]) piece++;
  const [left, right] = [one[piece], other[piece]];
  if (typeof left !== "string" || typeof right !== "string") return { piece, offset: 0 };
  let offset = 0;
  if (right.startsWith(left)) offset = left.length;
  else while (left[offset] === right[offset]) offset++;
  return { piece, offset };
}

/** Whether a place is the end of a rendering. */
function isWhole(pieces: readonly ChatPiece[], { piece, offset }: RenderedPlace): boolean {
  if (piece === pieces.length) return true;
  const last = pieces[piece];
  return piece === pieces.length - 1 && typeof last === "string" && offset === last.length;
}

interface Span {
  start: RenderedPlace;
  end: RenderedPlace;
}

/** Where an answer begins and ends in the rendering that ends with it. */
function spanOf(through: readonly ChatPiece[], index: number, render: Render, dialect: MaskDialect): Span {
  const before = render(index, true);
  const start = sharedPlace(before, through);
  // Some templates open a thought for the model and leave it out of what is said: then the answer begins before it.
  if (!isWhole(before, start) && !isAtOrAfter(start, endOf(render(index), through))) {
    throw new Failure(
      "input",
      "the chat template renders what comes before an answer otherwise once it is given, so that the answer cannot be told apart",
      "Learn the last answer of each dialogue alone, or use a template that appends each turn to those before.",
    );
  }
  const control = through.findLastIndex((piece) => typeof piece === "number");
  if (dialect === "xtuner" && control >= start.piece) return { start, end: { piece: control + 1, offset: 0 } };
  const last = through.at(-1);
  // In a longer rendering the last text may go on.
  const end = typeof last === "string" ? { piece: through.length - 1, offset: last.length } : endOfAll(through);
  return { start, end };
}

const endOfAll = (pieces: readonly ChatPiece[]): RenderedPlace => ({ piece: pieces.length, offset: 0 });

/** The end of a rendering within a longer one; beyond everything where the longer begins otherwise. */
function endOf(pieces: readonly ChatPiece[], longer: readonly ChatPiece[]): RenderedPlace {
  const place = sharedPlace(pieces, longer);
  return isWhole(pieces, place) ? place : { piece: Infinity, offset: 0 };
}

function isAtOrAfter(one: RenderedPlace, other: RenderedPlace): boolean {
  return one.piece > other.piece || (one.piece === other.piece && one.offset >= other.offset);
}

/** Encodes pieces; ids within spans are targets. Spans rise and do not overlap. */
function encodeSpans(
  tokenizer: Tokenizer,
  pieces: readonly ChatPiece[],
  spans: readonly Span[],
): EncodedDialogue & { ids: Int32Array } {
  const ids: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  for (const [index, piece] of [...pieces, ""].entries()) {
    const first = ids.length;
    const [startsHere, endsHere] = [
      spans.flatMap(({ start }) => (start.piece === index ? [start.offset] : [])),
      spans.flatMap(({ end }) => (end.piece === index ? [end.offset] : [])),
    ];
    const offsets = [...new Set([...startsHere, ...endsHere])].sort((one, two) => one - two);
    const text = typeof piece === "number" ? encodeControl(piece) : encodeText(tokenizer, piece, offsets);
    for (const id of text.ids) ids.push(id);
    // A token across a place is outside on both sides.
    for (const offset of startsHere) starts.push(first + (text.counts.get(offset)?.through ?? 0));
    for (const offset of endsHere) ends.push(first + (text.counts.get(offset)?.before ?? 0));
  }
  // What follows the last answer teaches nothing.
  const length = spans.length === 0 ? ids.length : Math.max(...ends);
  const targets = new Int32Array(Math.max(0, length - 1)).fill(-1);
  for (const [index, start] of starts.entries()) {
    for (let position = Math.max(start, 1); position < ends[index]!; position++) targets[position - 1] = ids[position]!;
  }
  return {
    ids: Int32Array.from(ids),
    tokens: Int32Array.from(ids.slice(0, targets.length)),
    targets,
    turnEnds: ends.map((end) => end - 1),
  };
}

/** Ids, and for places in a text how many lie before it, without and with a token that reaches across. */
interface EncodedText {
  ids: ArrayLike<number> & Iterable<number>;
  counts: Map<number, { before: number; through: number }>;
}

const encodeControl = (id: number): EncodedText => ({ ids: [id], counts: new Map() });

/**
 * Ids of a text in which no token reaches across the places, so that what is before an answer has the ids that a prompt
 * has. A tokenizer that begins every text with a space cannot begin one in the middle: there a token may reach across.
 */
function encodeText(tokenizer: Tokenizer, text: string, offsets: readonly number[]): EncodedText {
  const done: number[] = [];
  const counts: EncodedText["counts"] = new Map();
  let begin = 0;
  let rest = tokenizer.encode(text);
  for (const offset of offsets) {
    const head = tokenizer.encode(text.slice(begin, offset));
    let shared = 0;
    while (shared < head.length && head[shared] === rest[shared]) shared++;
    const isBetween = shared === head.length;
    if (isBetween || tokenizer.addsLeadingSpace) {
      const before = done.length + shared;
      counts.set(offset, { before, through: isBetween ? before : before + 1 });
      continue;
    }
    for (const id of head) done.push(id);
    counts.set(offset, { before: done.length, through: done.length });
    begin = offset;
    rest = tokenizer.encode(text.slice(begin));
  }
  return { ids: begin === 0 ? rest : [...done, ...rest], counts };
}
