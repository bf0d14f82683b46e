// Whether a real model says the same everywhere: TinyLlama's file (LIANLU_TINYLLAMA) teacher-forced over 2,000 tokens of
// English, beside floats of the same weights in our own engine, and beside llama.cpp on the same file.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load } from "../../src/engine/index.ts";
import { defineBench, row } from "../harness.ts";
import { llamaCppMissing, openLibllama } from "../inference-subjects.ts";
import { quantizeFile } from "../quantized-file.ts";

const tokens = 2000;
const text = "../shared/data/corpora/wikitext-2/word_language_model/data/wikitext-2/test.txt";

interface Prediction {
  best: number;
  logprob: number;
}

export default defineBench({
  async *rows({ threads, wants, note }) {
    const source = process.env["LIANLU_TINYLLAMA"];
    if (source === undefined) return note("LIANLU_TINYLLAMA names no GGUF file, so there is nothing to agree on.");
    if (!existsSync(text)) return note(`${text} is not there, so there is no text to agree on.`);
    const directory = mkdtempSync(join(tmpdir(), "lianlu-agreement-"));
    const count = Math.max(...threads);
    try {
      const floats = join(directory, "f32.gguf");
      const eight = join(directory, "q8_0.gguf");
      for (const [name, path, scheme] of [
        ["as it is", source, undefined],
        ["q8_0", eight, "q8_0"],
      ] as const) {
        if (!wants(`agreement ${name}`)) continue;
        if (scheme) quantizeFile(source, path, scheme);
        quantizeFile(path, floats, "f32");
        const ids = await idsOf(path, count);
        const own = await predict(path, ids, count);
        for (const [peer, theirs] of [
          ["floats of the same weights", await predict(floats, ids, count)],
          ["llama.cpp", await (await openLibllama(path, count, ids.length))?.score(ids)],
        ] as const) {
          if (!theirs) {
            note(llamaCppMissing);
            continue;
          }
          const same = own.filter(({ best }, i) => best === theirs[i]!.best).length / own.length;
          const apart =
            own.reduce((sum, { logprob }, i) => sum + Math.abs(logprob - theirs[i]!.logprob), 0) / own.length;
          yield row(`agreement ${name}: the same likeliest token`, count, 100 * same, "%", { peer });
          yield row(`agreement ${name}: log-probabilities apart by`, count, apart, "nats", { peer });
        }
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

async function idsOf(path: string, threads: number): Promise<number[]> {
  const model = await load(path, { threads });
  // The text's beginning is enough for so many tokens.
  const ids = await model.tokenize(readFileSync(text, "utf8").slice(0, 8 * tokens));
  await model.close();
  return [1, ...ids].slice(0, tokens);
}

async function predict(path: string, ids: readonly number[], threads: number): Promise<Prediction[]> {
  const model = await load(path, { threads });
  const [scored] = await model.score([ids], { topLogprobs: 1 });
  await model.close();
  return scored!.top!.slice(1).map((top, i) => ({ best: top![0]!.id, logprob: scored!.logprobs[i + 1]! }));
}
