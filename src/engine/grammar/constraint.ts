// From a grammar over bytes to the tokens that may come next, and whether the answer still fits the tokens left.
// It knows nothing of logits; guide.ts applies it.
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { createAutomaton, type Automaton, type State } from "./automaton.ts";
import type { Grammar } from "./expression.ts";
import { compile } from "./program.ts";
import { requireAllBytes, vocabularyOf, type Vocabulary } from "./vocabulary.ts";

/** Lists of tokens are kept up to this many ids in all (8 bytes each); a state within a free string comes back often. */
const maxKeptIds = 4_000_000;

export interface Constraint {
  readonly start: State;
  /** Tokens with which an answer can be completed from a state: never more than this are needed. */
  tokensNeeded(state: State): number;
  /**
   * Ids in ascending order that may come next and leave a way to finish within `remaining - 1` tokens more.
   * Never empty where `remaining >= tokensNeeded(state)`, unless the state is final.
   */
  allowed(state: State, remaining: number): Int32Array;
  /** The state after a token that was allowed. */
  advance(state: State, id: number): State;
  /** Grows with use: an owner drops a constraint that has become large. */
  size(): number;
}

interface TokenList {
  /** Ascending. */
  ids: Int32Array;
  /** For each id, which of the states it leads to. */
  next: Int32Array;
  states: readonly State[];
  /** The most symbols that any of the states is away from an end. */
  farthest: number;
}

/** Throws Failure("input") where the grammar is too large, unsatisfiable, or cannot be spelled by the tokenizer. */
export function createConstraint(grammar: Grammar, tokenizer: Tokenizer): Constraint {
  const vocabulary = vocabularyOf(tokenizer);
  requireAllBytes(vocabulary);
  const automaton = createAutomaton(compile(grammar));
  const lists = new Map<State, TokenList>();
  let keptIds = 0;
  const needed = new Map<State, number>();

  function listOf(state: State): TokenList {
    const known = lists.get(state);
    if (known) {
      // The least recently used list is the first of the map.
      lists.delete(state);
      lists.set(state, known);
      return known;
    }
    const list = walk(automaton, vocabulary, state);
    lists.set(state, list);
    keptIds += list.ids.length;
    for (const [oldest, { ids }] of lists) {
      if (keptIds <= maxKeptIds || oldest === state) break;
      lists.delete(oldest);
      keptIds -= ids.length;
    }
    return list;
  }

  /**
   * Tokens of the shortest way to an end, each the longest that spells the way on. After any of these tokens the rest
   * of the same way is ahead, so following it is always possible.
   */
  function tokensNeeded(state: State): number {
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

  function allowed(state: State, remaining: number): Int32Array {
    const { ids, next, states, farthest } = listOf(state);
    // A symbol takes at most a token.
    if (farthest < remaining) return ids;
    const fits = states.map((each) => each.distance < remaining || tokensNeeded(each) < remaining);
    return ids.filter((_, index) => fits[next[index]!]);
  }

  function advance(state: State, id: number): State {
    const { ids, next, states } = listOf(state);
    const index = search(ids, id);
    if (index < 0) throw new RangeError(`Token ${id} is not allowed here.`);
    return states[next[index]!]!;
  }

  return { start: automaton.start, tokensNeeded, allowed, advance, size: () => automaton.size() };
}

let walks = 0;

/** Every token that can follow a state: control tokens, and those whose bytes all can. */
function walk(automaton: Automaton, vocabulary: Vocabulary, start: State): TokenList {
  const { bytes, ends, tokens, twins, size, depth } = vocabulary;
  const thisWalk = ++walks;
  const states: State[] = [];
  /** By id, one more than the index of the state it leads to; 0 where it may not follow. */
  const reached = new Int32Array(size);
  let count = 0;
  function reach(id: number, state: State): void {
    if (state.walk !== thisWalk) {
      state.walk = thisWalk;
      state.index = states.push(state);
    }
    reached[id] = state.index;
    count += 1;
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

  const ids = new Int32Array(count);
  const indices = new Int32Array(count);
  for (let id = 0, at = 0; at < count; id++) {
    if (reached[id] === 0) continue;
    ids[at] = id;
    indices[at++] = reached[id]! - 1;
  }
  const farthest = states.reduce((most, { distance }) => Math.max(most, distance), 0);
  return { ids, next: indices, states, farthest };
}

function childOf({ bytes, ends }: Vocabulary, parent: number, byte: number): number {
  for (let node = parent + 1; node < ends[parent]!; node = ends[node]!) if (bytes[node] === byte) return node;
  return -1;
}

function search(ids: Int32Array, id: number): number {
  let low = 0;
  let high = ids.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (ids[middle] === id) return middle;
    if (ids[middle]! < id) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}
