// Pages of past and running sequences, by what they hold: a radix tree whose edges are pages of token ids.
// A page is found again by its ids and those before it, compared one by one, within a space (what else changes keys and
// values: the adapter, the rotation's base). Pages that nobody holds wait for reuse, and the least recently used go first.
import { pageTokens } from "../kernels/kernels.ts";
import type { PagePool } from "./cache.ts";

export interface PrefixNode {
  /** `pageTokens` ids, or fewer for the end of a sequence, which is only ever copied from. */
  readonly ids: Int32Array;
  readonly page: number;
  readonly parent: PrefixNode | undefined;
  readonly siblings: Map<number, PrefixNode[]>;
  readonly space: string;
  /** By their first id. */
  readonly children: Map<number, PrefixNode[]>;
  /** Sequences that hold it; all of a path is held together. */
  references: number;
  /** The list of nodes that nobody holds, the least recently used first; children come before their parents. */
  older: PrefixNode | undefined;
  newer: PrefixNode | undefined;
}

export interface PrefixMatch {
  /** Whole pages, the first first. */
  nodes: PrefixNode[];
  /** The page that goes on like the ids for the longest, and for how many of them. */
  tail: PrefixNode | undefined;
  tailTokens: number;
}

export interface PrefixTree {
  /** Pages that nobody holds. */
  readonly idle: number;
  /** What of ids[0..limit - 1] is there. The nodes are not held yet. */
  match(space: string, ids: readonly number[], limit: number): PrefixMatch;
  hold(nodes: readonly PrefixNode[]): void;
  release(nodes: readonly PrefixNode[]): void;
  /**
   * Puts a full page of ids[start ..] under its parent and holds it. Where there is one of the same ids already that one
   * is held, and the page given goes back to the pool.
   */
  add(space: string, parent: PrefixNode | undefined, ids: readonly number[], start: number, page: number): PrefixNode;
  /** Puts the end of a sequence, ids[start .. end - 1], less than a page, under its parent; nobody holds it. */
  addTail(
    space: string,
    parent: PrefixNode | undefined,
    ids: readonly number[],
    start: number,
    end: number,
    page: number,
  ): void;
  /** Gives the least recently used page back to the pool; false where all are held. */
  evict(): boolean;
}

export function createPrefixTree(pool: PagePool): PrefixTree {
  const spaces = new Map<string, Map<number, PrefixNode[]>>();
  let oldest: PrefixNode | undefined;
  let newest: PrefixNode | undefined;
  let idle = 0;

  function append(node: PrefixNode): void {
    node.older = newest;
    node.newer = undefined;
    if (newest) newest.newer = node;
    else oldest = node;
    newest = node;
    idle += 1;
  }

  function unlink(node: PrefixNode): void {
    if (node.older) node.older.newer = node.newer;
    else oldest = node.newer;
    if (node.newer) node.newer.older = node.older;
    else newest = node.older;
    node.older = undefined;
    node.newer = undefined;
    idle -= 1;
  }

  /** Takes an idle leaf out; its page is free. */
  function drop(node: PrefixNode): void {
    unlink(node);
    const { siblings, ids, space, parent } = node;
    const list = siblings.get(ids[0]!)!;
    if (list.length > 1) list.splice(list.indexOf(node), 1);
    else siblings.delete(ids[0]!);
    if (!parent && siblings.size === 0) spaces.delete(space);
    pool.give([node.page]);
  }

  function childrenOf(space: string, parent: PrefixNode | undefined): Map<number, PrefixNode[]> {
    if (parent) return parent.children;
    let root = spaces.get(space);
    if (!root) spaces.set(space, (root = new Map()));
    return root;
  }

  /** The child whose ids are all of ids[start ..] for a page. */
  function findFull(
    children: ReadonlyMap<number, PrefixNode[]>,
    ids: readonly number[],
    start: number,
  ): PrefixNode | undefined {
    const list = children.get(ids[start]!);
    if (!list) return undefined;
    for (const node of list) {
      if (node.ids.length === pageTokens && commonTokens(node.ids, ids, start, pageTokens) === pageTokens) return node;
    }
    return undefined;
  }

  function insert(
    space: string,
    parent: PrefixNode | undefined,
    ids: Int32Array,
    page: number,
    references: number,
  ): PrefixNode {
    const siblings = childrenOf(space, parent);
    const node: PrefixNode = {
      ids,
      page,
      parent,
      siblings,
      space,
      children: new Map(),
      references,
      older: undefined,
      newer: undefined,
    };
    const list = siblings.get(ids[0]!);
    if (!list) siblings.set(ids[0]!, [node]);
    else {
      list.push(node);
      // Ends of sequences that the new page begins with are of no more use.
      const useless = list.filter(
        (other) => other !== node && other.ids.length < ids.length && other.ids.every((id, index) => id === ids[index]),
      );
      for (const other of useless) drop(other);
    }
    return node;
  }

  function hold(nodes: readonly PrefixNode[]): void {
    for (const node of nodes) {
      if (node.references === 0) unlink(node);
      node.references += 1;
    }
  }

  return {
    get idle() {
      return idle;
    },
    match(space, ids, limit) {
      const nodes: PrefixNode[] = [];
      let children: ReadonlyMap<number, PrefixNode[]> | undefined = spaces.get(space);
      let start = 0;
      while (children && start + pageTokens <= limit) {
        const node = findFull(children, ids, start);
        if (!node) break;
        nodes.push(node);
        children = node.children;
        start += pageTokens;
      }
      let tail: PrefixNode | undefined;
      let tailTokens = 0;
      for (const node of children?.get(ids[start]!) ?? []) {
        const tokens = commonTokens(node.ids, ids, start, Math.min(node.ids.length, limit - start));
        if (tokens <= tailTokens) continue;
        tail = node;
        tailTokens = tokens;
      }
      return { nodes, tail, tailTokens };
    },
    hold,
    release(nodes) {
      for (let index = nodes.length - 1; index >= 0; index--) {
        const node = nodes[index]!;
        node.references -= 1;
        if (node.references === 0) append(node);
      }
    },
    add(space, parent, ids, start, page) {
      const same = findFull(childrenOf(space, parent), ids, start);
      if (same) {
        pool.give([page]);
        hold([same]);
        return same;
      }
      return insert(space, parent, Int32Array.from(ids.slice(start, start + pageTokens)), page, 1);
    },
    addTail(space, parent, ids, start, end, page) {
      const known = childrenOf(space, parent)
        .get(ids[start]!)
        ?.some(
          (node) => node.ids.length >= end - start && commonTokens(node.ids, ids, start, end - start) === end - start,
        );
      if (known) pool.give([page]);
      else append(insert(space, parent, Int32Array.from(ids.slice(start, end)), page, 0));
    },
    evict() {
      if (!oldest) return false;
      drop(oldest);
      return true;
    },
  };
}

/** How many of a node's ids are ids[start ..], up to a limit. */
function commonTokens(nodeIds: Int32Array, ids: readonly number[], start: number, limit: number): number {
  let count = 0;
  while (count < limit && nodeIds[count] === ids[start + count]) count++;
  return count;
}
