// A DPO step over real preference pairs, packed without padding, beside the same pairs in padded batches: pairs a second.
// The lengths are those of the pairs under InternLM2's tokenizer; ids are folded into a small vocabulary, so that the output
// layer of the small random model has about the share of the work that it has in a large one.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadKernels, setThreads } from "../../src/kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors, type DecoderConfig } from "../../src/model/index.ts";
import { createTape, randomPermutation } from "../../src/tensor/index.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import { createBatch } from "../../src/train/batch.ts";
import { groupBatches, type Group, type GroupBatch } from "../../src/train/preference/packing.ts";
import { dpo } from "../../src/train/preference/pairs.ts";
import { defineBench, milliseconds, row, takeTurns } from "../harness.ts";

const data = join(import.meta.dirname, "../../../shared/data");
const pairsFile = join(data, "corpora/llama-factory-demo/data/dpo_en_demo.json");
const tokenizerFile = join(data, "tokenizers/internlm/tokenizer_internlm2.model");

/** Longest sequence, as in TRL's defaults; longer pairs are left out. */
const maxLength = 1024;
/** Pairs that are measured, and of a padded batch. */
const pairCount = 48;
const padded = [4, 8];
const packedRows = 4096;
const turns = 3;

const config: DecoderConfig = {
  family: "llama",
  vocabSize: 1024,
  hiddenSize: 128,
  layers: 3,
  heads: 2,
  kvHeads: 2,
  headDim: 64,
  intermediateSize: 352,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositions: maxLength,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 2,
  initializerRange: 0.02,
};

interface Turn {
  value: string;
}

export default defineBench({
  async *rows({ threads, wants, note }) {
    if (!wants("preference")) return;
    if (!existsSync(pairsFile) || !existsSync(tokenizerFile)) {
      note(`preference: ${pairsFile} or ${tokenizerFile} is not there.`);
      return;
    }
    const pairs = readPairs();
    const kernels = loadKernels();
    const decoder = initializeDecoder(kernels, config, 1);
    makeTrainable(kernels, namedTensors(decoder).values());
    const reference = pairs.map(() => Float64Array.of(-500, -500));
    const walk = { rows: packedRows, seed: 1, padId: config.padTokenId };
    const objective = dpo({ decoder, pairs, reference, ...walk }, { loss: "sigmoid", beta: 0.1, labelSmoothing: 0 });
    const lengths = pairs.map((pair) => pair.reduce((sum, { tokens }) => sum + tokens.length, 0));
    const packed = groupBatches(pairs, walk);
    const real = lengths.reduce((sum, length) => sum + length, 0);
    note(
      `preference: ${pairs.length} pairs of ${real} tokens, packed into ${rowsOf(packed)} rows` +
        padded.map((count) => `, padded by ${count} pairs into ${rowsOf(padBatches(pairs, count, false))}`).join(""),
    );
    for (const count of threads) {
      setThreads(count);
      using tape = createTape(kernels, { recording: true });
      // Padded batches differ in their rows: all share the buffers of a few sizes.
      const subject = (batches: readonly GroupBatch[]) => (): number =>
        milliseconds(() => {
          for (const batch of batches) tape.varying(() => objective.run(tape, batch, 1 / pairs.length));
        });
      const others = [
        ...padded.map((size) => ({ name: `padded by ${size}`, batches: padBatches(pairs, size, false) })),
        // As is usual: prompts and padding meet the output layer too.
        { name: `by ${padded[0]}, all logits`, batches: padBatches(pairs, padded[0]!, true) },
      ].map(({ name, batches }) => ({ name, run: subject(batches) }));
      const run = subject(packed);
      const [own, ...times] = await takeTurns([run, ...others.map((other) => other.run)], turns);
      for (const [index, { name }] of others.entries()) {
        yield row("preference packed", count, (1000 * pairs.length) / own!, "pairs/s", {
          peer: name,
          peerValue: (1000 * pairs.length) / times[index]!,
        });
      }
    }
  },
});

/** Prompt and answer of each pair, of which the answer is learnt. */
function readPairs(): Group[] {
  const tokenizer = loadTokenizer(tokenizerFile);
  const records = JSON.parse(readFileSync(pairsFile, "utf8")) as {
    conversations: Turn[];
    chosen: Turn;
    rejected: Turn;
  }[];
  const fold = (text: string): number[] => Array.from(tokenizer.encode(text), (id) => id % config.vocabSize);
  const all = records.map(({ conversations, chosen, rejected }): Group => {
    const prompt = conversations.flatMap(({ value }) => fold(value));
    return [chosen, rejected].map(({ value }) => {
      const ids = Int32Array.of(1, ...prompt, ...fold(value), 2);
      const targets = ids.slice(1);
      targets.fill(-1, 0, prompt.length);
      return { tokens: ids.subarray(0, -1), targets };
    });
  });
  const short = all.filter((pair) => pair.every(({ tokens }) => tokens.length <= maxLength));
  return [...randomPermutation(1, 1, short.length).subarray(0, pairCount)].map((index) => short[index]!);
}

/** Batches of so many pairs in which every sequence is as long as the longest; with `everyRow` each row has a target. */
function padBatches(pairs: readonly Group[], count: number, everyRow: boolean): GroupBatch[] {
  const batches: GroupBatch[] = [];
  for (let first = 0; first < pairs.length; first += count) {
    const groups = pairs.slice(first, first + count).map((_, index) => first + index);
    const sequences = groups.flatMap((group) => pairs[group]!);
    const longest = Math.max(...sequences.map(({ tokens }) => tokens.length));
    const batch = createBatch(sequences.length * longest, config.padTokenId);
    for (const [index, { tokens, targets }] of sequences.entries()) {
      const start = index * longest;
      batch.ids.set(tokens, start);
      batch.targets.set(targets, start);
      for (let at = 0; at < longest; at++) {
        batch.positions[start + at] = at;
        batch.starts[start + at] = start;
        if (everyRow && batch.targets[start + at]! < 0) batch.targets[start + at] = config.padTokenId;
      }
    }
    const starts = Int32Array.from({ length: sequences.length + 1 }, (_, index) => index * longest);
    batches.push({ batch, groups, starts });
  }
  return batches;
}

function rowsOf(batches: readonly GroupBatch[]): number {
  return batches.reduce((sum, { batch }) => sum + batch.ids.length, 0);
}
