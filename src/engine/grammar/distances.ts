// The fewest symbols (bytes and control tokens) from each node of a graph to the end of its rule: Dijkstra's algorithm for
// grammars (Knuth, "A generalization of Dijkstra's algorithm", 1977). Every node is settled once, so that the order in
// which rules call each other does not matter.
import type { Node } from "./program.ts";

/** [nodes]; Infinity where there is no way. */
export function measure(nodes: readonly Node[]): Float64Array {
  const distances = new Float64Array(nodes.length).fill(Infinity);
  const { starts, users } = usersOf(nodes);
  const heap = createHeap();
  for (const [index, node] of nodes.entries()) if (node.op === "end") heap.push(0, index);
  for (let top = heap.pop(); top; top = heap.pop()) {
    const [distance, index] = top;
    if (distances[index]! <= distance) continue;
    distances[index] = distance;
    for (let at = starts[index]!; at < starts[index + 1]!; at++) {
      const user = users[at]!;
      const through = distanceOf(nodes[user]!, distance, distances);
      if (through < distances[user]!) heap.push(through, user);
    }
  }
  return distances;
}

/** What a node leads to, or needs to have an end. */
function targetsOf(node: Node): readonly number[] {
  switch (node.op) {
    case "byte":
      return node.ranges.length === 0 ? [] : [node.next];
    case "control":
      return [node.next];
    case "split":
      return node.next;
    case "repeat":
      return node.min === 0 ? [node.next] : [node.body, node.next];
    case "call":
      return [node.entry, node.next];
    case "end":
      return [];
    default:
      return node satisfies never;
  }
}

/** Of a node, one of whose targets was settled at a distance; Infinity while another that it needs is not. */
function distanceOf(node: Node, settled: number, distances: Float64Array): number {
  switch (node.op) {
    case "byte":
    case "control":
      return 1 + settled;
    case "split":
      return settled;
    case "repeat":
      return repeated(node.min, distances[node.body]!) + distances[node.next]!;
    case "call":
      return distances[node.entry]! + distances[node.next]!;
    case "end":
      return 0;
    default:
      return node satisfies never;
  }
}

/** Symbols of `times` runs of a body; none cost nothing, even of a body that can never end. */
export function repeated(times: number, distance: number): number {
  return times <= 0 ? 0 : times * distance;
}

/** The nodes that have each node as a target: those of node i from starts[i] up to starts[i + 1]. */
function usersOf(nodes: readonly Node[]): { starts: Int32Array; users: Int32Array } {
  const starts = new Int32Array(nodes.length + 1);
  for (const node of nodes) for (const target of targetsOf(node)) starts[target + 1]! += 1;
  for (let index = 0; index < nodes.length; index++) starts[index + 1]! += starts[index]!;
  const users = new Int32Array(starts[nodes.length]!);
  const filled = starts.slice();
  for (const [index, node] of nodes.entries()) {
    for (const target of targetsOf(node)) users[filled[target]!++] = index;
  }
  return { starts, users };
}

interface Heap {
  push(key: number, value: number): void;
  /** The pair of the smallest key. */
  pop(): [key: number, value: number] | undefined;
}

function createHeap(): Heap {
  const keys: number[] = [];
  const values: number[] = [];
  const move = (from: number, to: number): void => {
    keys[to] = keys[from]!;
    values[to] = values[from]!;
  };
  return {
    push(key, value) {
      let at = keys.length;
      for (let parent = (at - 1) >> 1; at > 0 && keys[parent]! > key; parent = (at - 1) >> 1) {
        move(parent, at);
        at = parent;
      }
      keys[at] = key;
      values[at] = value;
    },
    pop() {
      if (keys.length === 0) return undefined;
      const top: [number, number] = [keys[0]!, values[0]!];
      const key = keys.pop()!;
      const value = values.pop()!;
      const count = keys.length;
      if (count === 0) return top;
      let at = 0;
      for (let child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && keys[child + 1]! < keys[child]!) child += 1;
        if (keys[child]! >= key) break;
        move(child, at);
        at = child;
      }
      keys[at] = key;
      values[at] = value;
      return top;
    },
  };
}
