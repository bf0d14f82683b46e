// From a grammar over bytes to the tokens that may come next, and whether the answer still fits the tokens left.
// It knows nothing of logits; guide.ts applies it.
import { Failure } from "../../protocol/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { createAutomaton, type Automaton, type State } from "./automaton.ts";
import type { Grammar, Range } from "./expression.ts";
import { createMask, emptyWords, setBit, type TokenMask } from "./mask.ts";
import { compile } from "./program.ts";
import { requireAllBytes, vocabularyOf, type Trie, type Vocabulary } from "./vocabulary.ts";

/** Masks are kept up to this many bytes in all; a state within a free string comes back often. */
const maxKeptBytes = 8 * 2 ** 20;
/** States are kept up to this many; then all are let go, and those still needed are made anew. */
const maxKeptStates = 20_000;
/** Nodes of the grammar that take as much memory as a state. */
const nodesPerState = 16;
/** Work (places reached anew) that one mask may take: some 30 ms. */
const maxWork = 50_000;
/** Work beyond that, for as long as states are kept: what is new costs more, and so does a long way to an end. */
const maxExtraWork = 1_000_000;
/** Ways to an end that have more symbols are not walked. */
const maxDistance = 20_000;

export interface Constraint {
  readonly start: State;
  /** Tokens with which an answer can be completed from a state: never more than this are needed. */
  tokensNeeded(state: State): number;
  /**
   * Ids that may come next and leave a way to finish within `remaining - 1` tokens more; stop tokens where the text may
   * end. Never empty where `remaining >= tokensNeeded(state)`, unless the state is final.
   */
  allowed(state: State, remaining: number): TokenMask;
  /** The state after a token that was allowed; a stop token changes nothing. */
  advance(state: State, id: number): State;
  /**
   * Up to `limit` tokens that are likely to come next because the grammar leaves no choice about their text, in the usual
   * spelling: proposals, none of which must come.
   */
  drafts(state: State, limit: number): number[];
  /** Memory it takes, in states of some 3 KB: an owner of many constraints drops those that it uses least. */
  size(): number;
}

interface Kept {
  mask: TokenMask;
  /** The states that the tokens lead to. */
  states: readonly State[];
  /** The most symbols that any of the states is away from an end. */
  farthest: number;
  /** The most tokens that are needed from any of them; made when it is asked for. */
  mostNeeded: number | undefined;
}

/** Throws Failure("input") where the grammar is too large, unsatisfiable, or cannot be spelled by the tokenizer. */
export function createConstraint(grammar: Grammar, tokenizer: Tokenizer): Constraint {
  const vocabulary = vocabularyOf(tokenizer);
  requireAllBytes(vocabulary);
  let workLeft = 0;
  let extraLeft = maxExtraWork;
  const program = compile(grammar);
  const automaton = createAutomaton(program, spend);
  if (automaton.start.distance > maxDistance) {
    throw new Failure(
      "input",
      `The shortest answer of this form has ${automaton.start.distance} bytes, over the limit of ${maxDistance}.`,
      "Ask for fewer or shorter parts.",
    );
  }
  const stops = new Set(tokenizer.stopIds);
  const kept = new Map<State, Kept>();
  const maxKept = Math.max(8, Math.floor(maxKeptBytes / (vocabulary.size / 8)));
  const needed = new Map<State, number>();

  function spend(work: number): void {
    workLeft -= work;
    if (workLeft >= 0) return;
    extraLeft += workLeft;
    workLeft = 0;
    if (extraLeft >= 0) return;
    extraLeft = 0;
    throw new Failure(
      "input",
      "The schema, pattern or grammar can be read in too many ways at once.",
      "Give one that says sooner which of its ways a text takes: a count after what may also be its beginning is costly.",
    );
  }

  /** Before each use. */
  function refresh(): void {
    workLeft = maxWork;
    if (automaton.size() <= maxKeptStates) return;
    automaton.forget();
    kept.clear();
    needed.clear();
    extraLeft = maxExtraWork;
  }

  function keptOf(state: State): Kept {
    let found = kept.get(state);
    // The least recently used is the first of the map.
    kept.delete(state);
    if (!found) {
      const words = emptyWords(vocabulary.size);
      const states = fill(state, words, () => true);
      const farthest = states.reduce((most, { distance }) => Math.max(most, distance), 0);
      found = { mask: createMask(words), states, farthest, mostNeeded: undefined };
    }
    kept.set(state, found);
    if (kept.size > maxKept) kept.delete(kept.keys().next().value!);
    return found;
  }

  /** Sets the bits of the tokens that can follow a state and lead to states that fit; returns all states they lead to. */
  function fill(state: State, words: Uint32Array, fits: (next: State) => boolean): State[] {
    const visit = (id: number, next: State): void => {
      if (fits(next)) setBit(words, id);
    };
    if (state.accepting) for (const id of stops) setBit(words, id);
    const { run } = state;
    if (!run) return walk(automaton, vocabulary, vocabulary, state, visit);
    // A token of the run's characters can be read in one way alone, so its length says where it leads.
    const { byLength, others } = vocabulary.classOf(run.run.ranges);
    const states = walk(automaton, vocabulary, others, state, visit);
    for (const { words: tokens, example } of byLength.slice(0, Math.min(run.left, byLength.length))) {
      if (!example) continue;
      let next: State | null = state;
      for (const byte of example) next = next && automaton.step(next, byte);
      states.push(next!);
      if (!fits(next!)) continue;
      for (let index = 0; index < words.length; index++) words[index]! |= tokens[index]!;
    }
    return states;
  }

  /**
   * Tokens of the shortest way to an end, each the longest that spells the way on. After any of these tokens the rest
   * of the same way is ahead, so following it is always possible.
   */
  function tokensNeeded(state: State): number {
    if (state.distance > maxDistance) return Infinity;
    const way: State[] = [];
    let current = state;
    while (!current.accepting && !needed.has(current)) {
      way.push(current);
      current = longestOnTheWay(current);
    }
    let tokens = current.accepting ? 0 : needed.get(current)!;
    for (const each of way.reverse()) needed.set(each, ++tokens);
    return tokens;
  }

  function longestOnTheWay(state: State): State {
    const first = automaton.shortest(state)!;
    if ("control" in first) return automaton.stepControl(state, first.control)!;
    let node = 0;
    let current: State = state;
    let reached: State | undefined;
    for (let symbol: ReturnType<Automaton["shortest"]> = first; symbol && "byte" in symbol;) {
      node = childOf(vocabulary, node, symbol.byte);
      if (node < 0) break;
      current = automaton.step(current, symbol.byte)!;
      if (vocabulary.tokens[node]! >= 0) reached = current;
      symbol = automaton.shortest(current);
    }
    return reached!;
  }

  function allowed(state: State, remaining: number): TokenMask {
    refresh();
    const found = keptOf(state);
    // A symbol takes at most a token.
    if (found.farthest < remaining) return found.mask;
    found.mostNeeded ??= found.states.reduce((most, each) => Math.max(most, tokensNeeded(each)), 0);
    if (found.mostNeeded < remaining) return found.mask;
    const words = emptyWords(vocabulary.size);
    fill(state, words, (next) => next.distance < remaining || tokensNeeded(next) < remaining);
    return createMask(words);
  }

  function advance(state: State, id: number): State {
    if (stops.has(id) && state.accepting) return state;
    refresh();
    let current: State | null = state;
    if (tokenizer.isControl(id)) current = automaton.stepControl(state, id);
    else for (const byte of tokenizer.tokenBytes(id)) current = current && automaton.step(current, byte);
    if (!current) throw new RangeError(`Token ${id} is not allowed here.`);
    return current;
  }

  function drafts(state: State, limit: number): number[] {
    refresh();
    const ids: number[] = [];
    let current: State | null = state;
    let node = 0;
    let token = -1;
    /** Where the longest token so far ends. */
    let after: State | null = null;
    while (current && ids.length < limit) {
      const [control] = automaton.controls(current);
      const byte = control === undefined && !current.accepting ? usualByte(automaton.bytes(current)) : undefined;
      const child = byte === undefined ? -1 : childOf(vocabulary, node, byte);
      if (child >= 0) {
        node = child;
        current = automaton.step(current, byte!);
        if (vocabulary.tokens[node]! >= 0) {
          token = vocabulary.tokens[node]!;
          after = current;
        }
        continue;
      }
      // Where the way divides, the last token may well reach into what is free; a control token ends it.
      if (byte === undefined && node > 0 && control === undefined) break;
      if (node > 0) {
        ids.push(token);
        current = after;
        node = 0;
      } else {
        if (control === undefined || automaton.bytes(current).length > 0 || automaton.controls(current).length > 1)
          break;
        ids.push(control);
        current = automaton.stepControl(current, control);
      }
    }
    return ids;
  }

  return {
    start: automaton.start,
    tokensNeeded(state) {
      refresh();
      return tokensNeeded(state);
    },
    allowed,
    advance,
    drafts,
    size: () => automaton.size() + Math.ceil(program.nodes.length / nodesPerState),
  };
}

/** The byte that is written where only one can be, and the blank where JSON lets it be left out. */
function usualByte(ranges: readonly Range[]): number | undefined {
  const single = ranges.length === 1 && ranges[0]![0] === ranges[0]![1];
  if (single) return ranges[0]![0];
  const blank = ranges.length === 2 && ranges.some(([low, high]) => low === 0x20 && high === 0x20);
  return blank && ranges.every(([low, high]) => low === high) ? 0x20 : undefined;
}

let walks = 0;

/**
 * Visits every token of a trie that can follow a state, with the state it leads to: control tokens, and those whose bytes all can.
 * Returns the states it has met.
 */
function walk(
  automaton: Automaton,
  { twins }: Vocabulary,
  { bytes, ends, tokens, depth }: Trie,
  start: State,
  visit: (id: number, state: State) => void,
): State[] {
  const thisWalk = ++walks;
  const states: State[] = [];
  function reach(id: number, state: State): void {
    if (state.walk !== thisWalk) {
      state.walk = thisWalk;
      states.push(state);
    }
    visit(id, state);
  }

  for (const id of automaton.controls(start)) reach(id, automaton.stepControl(start, id)!);
  /** The state before each level of the trie, and where the level's parent ends. */
  const before: State[] = [start];
  const levelEnds = new Int32Array(depth + 1);
  levelEnds[0] = ends[0]!;
  let level = 0;
  for (let node = 1; node < bytes.length;) {
    while (node >= levelEnds[level]!) level -= 1;
    const state = before[level]!;
    const byte = bytes[node]!;
    const known = state.transitions[byte];
    const next = known === undefined ? automaton.step(state, byte) : known;
    if (next === null) {
      node = ends[node]!;
      continue;
    }
    for (let id = tokens[node]!; id >= 0; id = twins[id]!) reach(id, next);
    level += 1;
    before[level] = next;
    levelEnds[level] = ends[node]!;
    node += 1;
  }
  return states;
}

function childOf({ bytes, ends }: Trie, parent: number, byte: number): number {
  for (let node = parent + 1; node < ends[parent]!; node = ends[node]!) if (bytes[node] === byte) return node;
  return -1;
}
