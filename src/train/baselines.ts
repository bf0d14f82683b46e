// Counting models to hold a trained model's loss against: a unigram, and a trigram with modified Kneser-Ney smoothing
// (Chen and Goodman, "An empirical study of smoothing techniques for language modeling", 1998), the strongest of its
// kind without tuning. The first token of a document is context only, as in training.

export interface Baselines {
  /** Mean negative log-likelihood of the validation tokens, nats a token. */
  unigram: number;
  trigram: number;
}

/** Counts take up to 50 bytes a token; they are given back when they are disposed of. */
export interface Ngrams extends Disposable {
  score(documents: Documents): Baselines;
}

type Documents = Iterable<ArrayLike<number>>;

/**
 * Counts the training documents, and scores others.
 * - unigram: (count + 1) / (tokens + V).
 * - trigram: P(c | a b) = (n(abc) - D) / n(ab) + gamma(ab) P(c | b), where P(c | b) and P(c) are of the same form on the
 *   number of different contexts to the left, P(c) falls back to 1 / V, D is D1, D2 or D3+ by the count, estimated from
 *   the counts of counts, and gamma makes each distribution sum to one.
 * Scores are NaN where no document has two tokens.
 */
export function countNgrams(train: Documents, vocabSize: number): Ngrams {
  const counts = countDocuments(train, vocabSize);
  const model = smooth(counts, vocabSize);
  return {
    score(documents) {
      let tokens = 0;
      let unigram = 0;
      let trigram = 0;
      for (const document of documents) {
        // As in counting, a document's first token stands after a token that occurs nowhere else.
        let context = document.length > 0 ? counts.bigrams.find(vocabSize, document[0]!) : -1;
        for (let index = 1; index < document.length; index++) {
          const [before, token] = [document[index - 1]!, document[index]!];
          unigram -= Math.log((counts.unigrams[token]! + 1) / (counts.targets + vocabSize));
          trigram -= Math.log(model.probability(context, before, token));
          context = counts.bigrams.find(before, token);
          tokens++;
        }
      }
      return { unigram: unigram / tokens, trigram: trigram / tokens };
    },
    [Symbol.dispose]() {
      const { bigrams, trigrams, suffixes, seen } = counts;
      for (const each of [bigrams, trigrams, suffixes, seen]) each.release();
    },
  };
}

interface Counts {
  unigrams: Int32Array;
  /** Sum of `unigrams`. */
  targets: number;
  /** (before, token), and (vocabSize, first token) for the start of a document. */
  bigrams: PairTable;
  /** (entry of the bigram before, token). */
  trigrams: PairTable;
  /** For each trigram, the bigram entry of its last two tokens. */
  suffixes: GrowingInts;
  /** For each trigram, how often it was seen. */
  seen: GrowingInts;
}

function countDocuments(documents: Documents, vocabSize: number): Counts {
  const unigrams = new Int32Array(vocabSize);
  const bigrams = createPairTable();
  const trigrams = createPairTable();
  const suffixes = createGrowingInts();
  const seen = createGrowingInts();
  let targets = 0;
  for (const document of documents) {
    if (document.length < 2) continue;
    let context = bigrams.add(vocabSize, document[0]!);
    for (let index = 1; index < document.length; index++) {
      const token = document[index]!;
      unigrams[token]!++;
      targets++;
      const suffix = bigrams.add(document[index - 1]!, token);
      const entry = trigrams.add(context, token);
      suffixes.set(entry, suffix);
      seen.set(entry, seen.get(entry) + 1);
      context = suffix;
    }
  }
  return { unigrams, targets, bigrams, trigrams, suffixes, seen };
}

function smooth(counts: Counts, vocabSize: number) {
  const { bigrams, trigrams, suffixes, seen } = counts;
  // Kneser-Ney counts of the lower orders: how many different tokens stand to the left.
  const bigramLefts = new Int32Array(bigrams.size);
  for (let entry = 0; entry < trigrams.size; entry++) bigramLefts[suffixes.get(entry)]!++;
  const unigramLefts = new Int32Array(vocabSize);
  for (let entry = 0; entry < bigrams.size; entry++) {
    if (bigrams.left(entry) !== vocabSize) unigramLefts[bigrams.right(entry)]!++;
  }

  const third = createLevel(bigrams.size);
  for (let entry = 0; entry < trigrams.size; entry++) third.add(trigrams.left(entry), seen.get(entry));
  const second = createLevel(vocabSize);
  for (let entry = 0; entry < bigrams.size; entry++) {
    if (bigrams.left(entry) !== vocabSize) second.add(bigrams.left(entry), bigramLefts[entry]!);
  }
  const first = createLevel(1);
  for (let token = 0; token < vocabSize; token++) first.add(0, unigramLefts[token]!);
  third.finish();
  second.finish();
  first.finish();

  const probability = (context: number, before: number, token: number): number => {
    let result = first.interpolate(0, unigramLefts[token]!, 1 / vocabSize);
    const bigram = bigrams.find(before, token);
    result = second.interpolate(before, bigram < 0 ? 0 : bigramLefts[bigram]!, result);
    if (context < 0) return result;
    const trigram = trigrams.find(context, token);
    return third.interpolate(context, trigram < 0 ? 0 : seen.get(trigram), result);
  };
  return { probability };
}

/** One order of the model: for each context the sum of its counts and how many of them are 1, 2, and 3 or more. */
function createLevel(contexts: number) {
  const totals = new Float64Array(contexts);
  const kinds = new Int32Array(contexts * 3);
  const countsOfCounts = new Float64Array(5);
  const discounts = new Float64Array(4);
  return {
    add(context: number, count: number): void {
      if (count === 0) return;
      totals[context]! += count;
      kinds[context * 3 + Math.min(count, 3) - 1]!++;
      if (count <= 4) countsOfCounts[count]!++;
    },
    /** Estimates the discounts: D_k = k - (k + 1) Y n_(k+1) / n_k with Y = n_1 / (n_1 + 2 n_2). */
    finish(): void {
      const ratio = countsOfCounts[1]! / (countsOfCounts[1]! + 2 * countsOfCounts[2]!);
      for (let k = 1; k <= 3; k++) {
        const estimate = k - ((k + 1) * ratio * countsOfCounts[k + 1]!) / countsOfCounts[k]!;
        // Small data may give no estimate, or one that leaves nothing for what was not seen.
        discounts[k] = Number.isFinite(estimate) ? Math.min(Math.max(estimate, 0.1), k - 0.1) : 0.5;
      }
    },
    interpolate(context: number, count: number, lower: number): number {
      const total = totals[context]!;
      if (total === 0) return lower;
      let freed = 0;
      for (let k = 1; k <= 3; k++) freed += discounts[k]! * kinds[context * 3 + k - 1]!;
      const kept = count === 0 ? 0 : count - discounts[Math.min(count, 3)]!;
      return (kept + freed * lower) / total;
    },
  };
}

interface PairTable extends Releasable {
  readonly size: number;
  /** The entry of a pair, which is added where it is new. Entries are numbered from 0 as they come. */
  add(left: number, right: number): number;
  /** The entry of a pair, or -1. */
  find(left: number, right: number): number;
  left(entry: number): number;
  right(entry: number): number;
}

/** Pairs of integers to consecutive numbers: open addressing in typed arrays, kept at most half full. */
function createPairTable(): PairTable {
  const lefts = createGrowingInts();
  const rights = createGrowingInts();
  // Of each slot: left, right, entry + 1 (0 where it is free), and one unused, so that a slot is in one cache line.
  let slots = new Int32Array(4 << 16);
  let size = 0;

  /** Where the pair's slot starts, or the free slot in which it belongs. */
  const find = (left: number, right: number): number => {
    const mask = slots.length - 1;
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    let slot = ((hash ^ (hash >>> 13)) << 2) & mask;
    while (slots[slot + 2] !== 0 && (slots[slot] !== left || slots[slot + 1] !== right)) slot = (slot + 4) & mask;
    return slot;
  };
  const place = (left: number, right: number, entry: number): void => {
    const slot = find(left, right);
    slots[slot] = left;
    slots[slot + 1] = right;
    slots[slot + 2] = entry + 1;
  };
  return {
    get size() {
      return size;
    },
    add(left, right) {
      const found = slots[find(left, right) + 2]!;
      if (found > 0) return found - 1;
      lefts.set(size, left);
      rights.set(size, right);
      place(left, right, size++);
      if (size * 8 > slots.length) {
        const { length } = slots;
        slots.buffer.transfer(0);
        slots = new Int32Array(length * 2);
        for (let entry = 0; entry < size; entry++) place(lefts.get(entry), rights.get(entry), entry);
      }
      return size - 1;
    },
    find: (left, right) => slots[find(left, right) + 2]! - 1,
    left: (entry) => lefts.get(entry),
    right: (entry) => rights.get(entry),
    release() {
      slots.buffer.transfer(0);
      lefts.release();
      rights.release();
    },
  };
}

/** What gives its memory back at once: the collector would let the next stage of a run grow beside it. */
interface Releasable {
  release(): void;
}

interface GrowingInts extends Releasable {
  get(index: number): number;
  set(index: number, value: number): void;
}

/** An Int32Array that grows by doubling; what was never set is 0. */
function createGrowingInts(): GrowingInts {
  let values = new Int32Array(1 << 14);
  return {
    get: (index) => (index < values.length ? values[index]! : 0),
    set(index, value) {
      if (index >= values.length) {
        const larger = new Int32Array(values.length * 2);
        larger.set(values);
        values.buffer.transfer(0);
        values = larger;
      }
      values[index] = value;
    },
    release: () => void values.buffer.transfer(0),
  };
}
