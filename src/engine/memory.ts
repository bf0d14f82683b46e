// Who holds which page: the pool of free pages and the prefix tree, as sequences see them.
import { pageTokens } from "../kernels/kernels.ts";
import { createPagePool, pagesFor } from "./cache.ts";
import { createPrefixTree } from "./prefix-tree.ts";
import type { Sequence } from "./sequence.ts";

export interface Memory {
  readonly free: number;
  /** Pages that are kept for reuse and that no sequence holds. */
  readonly cached: number;
  readonly total: number;
  /**
   * Takes the pages that hold a beginning of the sequence, copying the one that it shares in part with a past sequence or
   * with one of `running`, and sets `computed`. Where then `wanted` pages altogether are not to be had nothing is taken.
   */
  begin(sequence: Sequence, running: readonly Sequence[], wanted: number): boolean;
  /** Whether the sequence holds pages for its first `tokens` positions, from free pages and then from idle ones. */
  reserve(sequence: Sequence, tokens: number): boolean;
  /** Lets others find the pages that the sequence has filled. */
  publish(sequence: Sequence): void;
  /** Gives up all pages; what is computed stays for reuse. */
  release(sequence: Sequence): void;
}

export interface MemoryOptions {
  pages: number;
  /** Whether pages are kept for reuse and shared. */
  prefixCache: boolean;
  copyPage(from: number, to: number): void;
}

export function createMemory({ pages: total, prefixCache, copyPage }: MemoryOptions): Memory {
  const pool = createPagePool(total);
  const tree = createPrefixTree(pool);

  function take(): number | undefined {
    return pool.take() ?? (tree.evict() ? pool.take() : undefined);
  }

  /** Ids that are in every cache and so can be shared. */
  const settled = ({ computed, drafted }: Sequence): number => Math.min(computed, drafted);
  const shares = (sequence: Sequence): boolean => prefixCache && sequence.shares;

  function begin(sequence: Sequence, running: readonly Sequence[], wanted: number): boolean {
    const { space, task } = sequence;
    if (!shares(sequence)) return wanted <= pool.free + tree.idle;
    // The last id is computed in any case: its logits are wanted.
    const limit = task.ids.length - 1;
    const { nodes, tail, tailTokens } = tree.match(space, task.ids, limit);
    const held = tail && tail.references === 0 ? [...nodes, tail] : nodes;
    tree.hold(held);
    if (wanted - nodes.length > pool.free + tree.idle) {
      tree.release(held);
      return false;
    }
    sequence.nodes = nodes;
    sequence.pages = nodes.map(({ page }) => page);
    let computed = nodes.length * pageTokens;
    let source = tail?.page;
    let tokens = tailTokens;
    for (const other of running) {
      const common = commonTail(sequence, other, limit);
      if (common <= tokens) continue;
      source = other.pages[nodes.length];
      tokens = common;
    }
    if (source !== undefined && tokens > 0) {
      const page = take();
      if (page !== undefined) {
        copyPage(source, page);
        sequence.pages.push(page);
        computed += tokens;
      }
    }
    if (held.length > nodes.length) tree.release([tail!]);
    sequence.computed = computed;
    sequence.drafted = Math.max(sequence.drafted, computed);
    return true;
  }

  /** Ids that the unfinished page of a running sequence shares with the page after `sequence.nodes`. */
  function commonTail(sequence: Sequence, other: Sequence, limit: number): number {
    const depth = sequence.nodes.length;
    if (!other.shares || other.space !== sequence.space || other.nodes.length !== depth) return 0;
    if (depth > 0 && other.nodes[depth - 1] !== sequence.nodes[depth - 1]) return 0;
    const start = depth * pageTokens;
    const end = Math.min(settled(other), limit, start + pageTokens);
    let position = start;
    while (position < end && sequence.task.ids[position] === other.task.ids[position]) position++;
    return position - start;
  }

  function reserve(sequence: Sequence, tokens: number): boolean {
    const { pages } = sequence;
    const wanted = pagesFor(tokens);
    while (pages.length < wanted) {
      const page = take();
      if (page === undefined) return false;
      pages.push(page);
    }
    return true;
  }

  function publish(sequence: Sequence): void {
    if (!shares(sequence)) return;
    const { nodes, pages, space, task } = sequence;
    while ((nodes.length + 1) * pageTokens <= settled(sequence)) {
      const index = nodes.length;
      const node = tree.add(space, nodes.at(-1), task.ids, index * pageTokens, pages[index]!);
      nodes.push(node);
      pages[index] = node.page;
    }
  }

  function release(sequence: Sequence): void {
    const { nodes, pages, space, task } = sequence;
    if (shares(sequence)) {
      publish(sequence);
      const start = nodes.length * pageTokens;
      const end = settled(sequence);
      if (end > start) {
        tree.addTail(space, nodes.at(-1), task.ids, start, end, pages[nodes.length]!);
        pages.splice(nodes.length, 1);
      }
    }
    pool.give(pages.slice(nodes.length));
    tree.release(nodes);
    sequence.pages = [];
    sequence.nodes = [];
  }

  return {
    get free() {
      return pool.free;
    },
    get cached() {
      return tree.idle;
    },
    total,
    begin,
    reserve,
    publish,
    release,
  };
}
