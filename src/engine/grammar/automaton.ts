// Runs a grammar over bytes and control tokens: a pushdown automaton made deterministic as it is walked.
// A state is the set of places where the text so far can stand; states and transitions are made once and shared.
import { Failure } from "../../protocol/errors.ts";
import type { Range } from "./expression.ts";
import { repeated } from "./distances.ts";
import type { Node, Program, Run } from "./program.ts";
import { normalise } from "./unicode.ts";

/** A text that can be read in more ways at once than this is refused. */
const maxPlaces = 4_000;
/** What a new state takes besides its places, in units of a place. */
const stateWork = 16;

/** What to return to at the end of a rule or of a counted body; frames of one parent are shared. */
interface Frame {
  parent: Frame | undefined;
  /** The call or repeat node that pushed it. */
  node: number;
  /** Runs of a repeat's body that were begun before this one. */
  count: number;
  /** Fewest symbols from the end of the current rule to the end of the text. */
  distance: number;
  children: Map<number, Frame>;
  places: Map<number, Place>;
}

interface Place {
  id: number;
  node: number;
  frame: Frame;
  distance: number;
}

/** A run that a state is at: so many more characters may follow. */
export interface OpenRun {
  run: Run;
  left: number;
}

export interface State {
  readonly places: readonly Place[];
  /** The only run of the state, where no place outside it can begin with a character of the run. */
  readonly run: OpenRun | undefined;
  /** Whether the text may end here. */
  readonly accepting: boolean;
  /** Fewest symbols to a text that is complete. */
  readonly distance: number;
  /** Whether any symbol can follow. */
  readonly final: boolean;
  /** By byte; undefined where the transition was not made yet. */
  readonly transitions: (State | null | undefined)[];
  /** Scratch of whoever walks over states: the last walk that met this one. */
  walk: number;
}

export interface Automaton {
  readonly start: State;
  /** States that are kept: all that were made since the last were let go. */
  size(): number;
  /** Lets go of all states: whoever stands in one can go on from there, and what follows is made anew. */
  forget(): void;
  /** The state after a byte; null where none may follow. */
  step(state: State, byte: number): State | null;
  /** The state after a control token. */
  stepControl(state: State, id: number): State | null;
  /** Bytes that may follow, as ranges: sorted, without overlaps. */
  bytes(state: State): readonly Range[];
  /** Control tokens that may follow. */
  controls(state: State): readonly number[];
  /** The first symbol of the shortest way to a complete text; undefined in an accepting state. */
  shortest(state: State): { byte: number } | { control: number } | undefined;
}

/** `spend` is told of work as it is done, one for each place that is reached, and throws where it is too much. */
export function createAutomaton({ nodes, start, distances }: Program, spend: (work: number) => void): Automaton {
  let nextPlaceId = 0;
  const states = new Map<string, State>();
  const root: Frame = {
    parent: undefined,
    node: -1,
    count: 0,
    distance: 0,
    children: new Map(),
    places: new Map(),
  };

  function push(parent: Frame, node: number, count: number): Frame {
    const key = count * nodes.length + node;
    let frame = parent.children.get(key);
    if (!frame) {
      const pushed = nodes[node]!;
      let distance = parent.distance;
      if (pushed.op === "call") distance += distances[pushed.next]!;
      if (pushed.op === "repeat") {
        distance += repeated(pushed.min - count - 1, distances[pushed.body]!) + distances[pushed.next]!;
      }
      frame = { parent, node, count, distance, children: new Map(), places: new Map() };
      parent.children.set(key, frame);
    }
    return frame;
  }

  function place(node: number, frame: Frame): Place {
    let found = frame.places.get(node);
    if (!found) {
      found = { id: nextPlaceId++, node, frame, distance: distances[node]! + frame.distance };
      frame.places.set(node, found);
    }
    return found;
  }

  /** Everything that can be reached without a symbol, as one shared state; null where that is nothing. */
  function settle(seeds: readonly Place[]): State | null {
    const seen = new Set<Place>();
    const waiting: Place[] = [];
    const runs: OpenRun[] = [];
    /** Whether there is a way on from there. */
    const reach = (node: number, frame: Frame): boolean => {
      const found = place(node, frame);
      if (found.distance === Infinity) return false;
      if (seen.has(found)) return true;
      if (seen.size >= maxPlaces) {
        throw new Failure("input", "The pattern can be matched in too many ways at once.", "Avoid nested quantifiers.");
      }
      seen.add(found);
      waiting.push(found);
      return true;
    };
    /** Before run `count + 1` of a repeat's body. */
    const reachRepeat = (index: number, node: Node & { op: "repeat" }, count: number, frame: Frame): void => {
      if (count >= node.min) reach(node.next, frame);
      if (count >= node.max) return;
      // Without an upper bound, counts past the minimum are all alike.
      const inside = push(frame, index, node.max === Infinity ? Math.min(count, node.min) : count);
      if (reach(node.body, inside) && node.run) runs.push({ run: node.run, left: node.max - count });
    };

    for (const seed of seeds) reach(seed.node, seed.frame);
    const consuming: Place[] = [];
    let accepting = false;
    for (let current = waiting.pop(); current; current = waiting.pop()) {
      const { frame } = current;
      const node = nodes[current.node]!;
      switch (node.op) {
        case "byte":
        case "control":
          consuming.push(current);
          break;
        case "split":
          for (const [branch, next] of node.next.entries()) {
            if (reach(next, frame) && branch === 0 && node.run) runs.push({ run: node.run, left: Infinity });
          }
          break;
        case "repeat":
          reachRepeat(current.node, node, 0, frame);
          break;
        case "call":
          // A call at the end of a rule needs no frame of its own.
          reach(node.entry, nodes[node.next]!.op === "end" ? frame : push(frame, current.node, 0));
          break;
        case "end": {
          if (!frame.parent) {
            accepting = true;
            break;
          }
          const caller = nodes[frame.node]!;
          if (caller.op === "repeat") reachRepeat(frame.node, caller, frame.count + 1, frame.parent);
          else if (caller.op === "call") reach(caller.next, frame.parent);
          break;
        }
        default:
          node satisfies never;
      }
    }
    spend(seen.size);
    if (consuming.length === 0 && !accepting) return null;
    consuming.sort((left, right) => left.id - right.id);
    const key = `${accepting ? "!" : ""}${consuming.map(({ id }) => id).join()}`;
    let state = states.get(key);
    if (!state) {
      spend(stateWork);
      state = {
        places: consuming,
        run: onlyRun(nodes, consuming, runs),
        accepting,
        distance: accepting ? 0 : Math.min(...consuming.map(({ distance }) => distance)),
        final: consuming.length === 0,
        // Filled at once, so that a lookup is one load.
        transitions: Array.from<undefined>({ length: 256 }),
        walk: 0,
      };
      states.set(key, state);
    }
    return state;
  }

  function forget(): void {
    for (const { transitions } of [first!, ...states.values()]) transitions.fill(undefined);
    states.clear();
    // The start stays, and what it stands in must not gather what is made after it for ever.
    for (const { frame } of first!.places) {
      for (let each: Frame | undefined = frame; each; each = each.parent) {
        each.children.clear();
        each.places.clear();
      }
    }
  }

  function step(state: State, byte: number): State | null {
    const known = state.transitions[byte];
    if (known !== undefined) return known;
    const reached: Place[] = [];
    for (const { node, frame } of state.places) {
      const at = nodes[node]!;
      if (at.op !== "byte") continue;
      for (const [low, high] of at.ranges) {
        if (byte >= low && byte <= high) {
          reached.push(place(at.next, frame));
          break;
        }
      }
    }
    const next = reached.length === 0 ? null : settle(reached);
    state.transitions[byte] = next;
    return next;
  }

  function stepControl(state: State, id: number): State | null {
    const reached: Place[] = [];
    for (const { node, frame } of state.places) {
      const at = nodes[node]!;
      if (at.op === "control" && at.id === id) reached.push(place(at.next, frame));
    }
    return reached.length === 0 ? null : settle(reached);
  }

  function bytes(state: State): readonly Range[] {
    return normalise(state.places.flatMap(({ node }) => rangesOf(nodes[node]!)));
  }

  function controls(state: State): readonly number[] {
    const ids = new Set<number>();
    for (const { node } of state.places) {
      const at = nodes[node]!;
      if (at.op === "control") ids.add(at.id);
    }
    return [...ids].sort((left, right) => left - right);
  }

  function shortest(state: State): { byte: number } | { control: number } | undefined {
    if (state.accepting) return undefined;
    const nearest = state.places.find(({ distance }) => distance === state.distance)!;
    const node = nodes[nearest.node]!;
    if (node.op === "control") return { control: node.id };
    if (node.op !== "byte") throw new RangeError(`A place that consumes nothing: ${node.op}`);
    return { byte: node.ranges[0]![0] };
  }

  const first = settle([place(start, root)]);
  if (!first) throw new RangeError("A grammar that was compiled has a start.");
  return { start: first, size: () => states.size, forget, step, stepControl, bytes, controls, shortest };
}

/** The run of a state whose other places, if there are any, cannot begin with a character of it. */
function onlyRun(nodes: readonly Node[], places: readonly Place[], runs: readonly OpenRun[]): OpenRun | undefined {
  const [open, another] = runs;
  if (!open || another) return undefined;
  const { from, to } = open.run;
  const within = ({ node }: Place): boolean => node >= from && node < to;
  const firsts = places.filter(within).flatMap(({ node }) => rangesOf(nodes[node]!));
  const meets = ([low, high]: Range): boolean => firsts.some(([first, last]) => low <= last && first <= high);
  return places.some((each) => !within(each) && rangesOf(nodes[each.node]!).some(meets)) ? undefined : open;
}

function rangesOf(node: Node): readonly Range[] {
  return node.op === "byte" ? node.ranges : [];
}
