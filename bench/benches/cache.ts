// What a smaller key-value cache costs: the growth of perplexity over an f32 cache. stories15M on 100,000 held-out tokens,
// and TinyLlama (LIANLU_TINYLLAMA) on as many of Wikipedia as LIANLU_CACHE_TOKENS says, since it reads slower.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "../../src/engine/index.ts";
import type { KvType } from "../../src/kernels/index.ts";
import { defineBench, row } from "../harness.ts";

const data = "../shared/data";
const types = ["f16", "bf16", "int8", "int4"] as const;

interface Subject {
  name: string;
  model: string;
  tokenizer?: string;
  text: string;
  tokens: number;
  /** Tokens of one text to score; attention reaches no further. */
  context: number;
}

export default defineBench({
  async *rows({ threads, wants, note }) {
    const count = Math.max(...threads);
    for (const subject of subjects(note)) {
      const asked = types.filter((type) => wants(`cache ${subject.name} ${type}`));
      if (asked.length === 0) continue;
      const whole = await perplexity(subject, "f32", count);
      for (const type of asked) {
        const { value, bytesPerToken } = await perplexity(subject, type, count);
        yield row(`cache ${subject.name} ${type}: perplexity grows by`, count, 100 * (value / whole.value - 1), "%");
        yield row(`cache ${subject.name} ${type}: size`, count, bytesPerToken, "bytes/token", {
          peer: "f32",
          peerValue: whole.bytesPerToken,
        });
      }
    }
  },
});

function* subjects(note: (text: string) => void): Generator<Subject> {
  const stories = join(data, "corpora/tinystories/gusjengis_sample_2MB.txt");
  if (existsSync(stories)) {
    yield {
      name: "stories15M",
      model: join(data, "weights/llama2c/stories15M.bin"),
      tokenizer: join(data, "weights/llama2c/tokenizer.bin"),
      text: readFileSync(stories, "utf8"),
      tokens: 100_000,
      context: 256,
    };
  } else note(`${stories} is not there, so stories15M is not measured.`);
  const model = process.env["LIANLU_TINYLLAMA"];
  const wikipedia = join(data, "corpora/wikitext-2/word_language_model/data/wikitext-2/test.txt");
  if (model === undefined || !existsSync(wikipedia)) {
    note("LIANLU_TINYLLAMA names no GGUF file, or there is no text for it, so TinyLlama is not measured.");
    return;
  }
  const tokens = Number(process.env["LIANLU_CACHE_TOKENS"] ?? 16_384);
  yield { name: "TinyLlama", model, text: readFileSync(wikipedia, "utf8"), tokens, context: 2048 };
}

async function perplexity(
  { model: path, tokenizer, text, tokens, context }: Subject,
  kvCache: KvType,
  threads: number,
): Promise<{ value: number; bytesPerToken: number }> {
  const model = await load(path, { kvCache, threads, maxContext: context, ...(tokenizer && { tokenizer }) });
  try {
    // A token is a few characters; what is too much is cut off.
    const ids = (await model.tokenize(text.slice(0, 8 * tokens))).slice(0, tokens);
    const pieces = Array.from({ length: Math.ceil(ids.length / (context - 1)) }, (_, i) => [
      1,
      ...ids.slice(i * (context - 1), (i + 1) * (context - 1)),
    ]);
    let sum = 0;
    let scored = 0;
    for (const { logprobs } of await model.score(pieces)) {
      for (const logprob of logprobs) {
        if (logprob === null) continue;
        sum -= logprob;
        scored += 1;
      }
    }
    const { cacheBytes, pagesTotal } = await model.statistics();
    return { value: Math.exp(sum / scored), bytesPerToken: cacheBytes / (pagesTotal * 64) };
  } finally {
    await model.close();
  }
}
