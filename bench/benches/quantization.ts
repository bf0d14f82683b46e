// What each scheme costs: the growth of perplexity on 100,000 held-out tokens of stories by a model of 15 M parameters,
// rounded to the nearest and calibrated; and of TinyLlama (LIANLU_TINYLLAMA) on fewer tokens of Wikipedia, since its float
// model reads some tens a second. LIANLU_QUANTIZATION_TOKENS changes the number.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setThreads } from "../../src/kernels/index.ts";
import { runJob } from "../../src/protocol/index.ts";
import { quantize } from "../../src/quantize/index.ts";
import { defineBench, row } from "../harness.ts";

const data = "../shared/data";
const wikipedia = join(data, "corpora/wikitext-2/word_language_model/data/wikitext-2");
const separator = "<|endoftext|>";

interface Subject {
  name: string;
  model: string;
  tokenizer?: string;
  calibration: string;
  evaluation: string;
  calibrationTokens: number;
  evaluationTokens: number;
}

export default defineBench({
  async *rows({ threads, wants, note }) {
    const directory = mkdtempSync(join(tmpdir(), "lianlu-quantization-"));
    const count = Math.max(...threads);
    setThreads(count);
    try {
      for (const subject of subjects(directory, note)) {
        for (const scheme of ["q8_0", "q6_k", "q4_k_m", "q4_0", "awq"]) {
          for (const calibrated of scheme.startsWith("q4") || scheme === "awq" ? [false, true] : [false]) {
            const name = `${subject.name} ${scheme}${calibrated ? " calibrated" : ""}`;
            if (!wants(name)) continue;
            const { calibration, name: _, ...options } = subject;
            const out = join(directory, "quantized");
            const { quality, bitsPerWeight } = await runJob(
              quantize({
                ...options,
                ...(calibrated && { calibration }),
                scheme,
                out,
                signal: new AbortController().signal,
              }),
            );
            rmSync(out, { recursive: true });
            yield row(`${name}: perplexity grows by`, count, 100 * quality!.perplexityIncrease, "%");
            yield row(`${name}: divergence`, count, quality!.klDivergence, "nats");
            yield row(`${name}: the same likeliest token`, count, 100 * quality!.topAgreement, "%");
            yield row(`${name}: size`, count, bitsPerWeight, "bits/weight");
          }
        }
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
});

function* subjects(directory: string, note: (text: string) => void): Generator<Subject> {
  const asked = process.env["LIANLU_QUANTIZATION_TOKENS"];
  const tokensOr = (otherwise: number) => (asked === undefined ? otherwise : Number(asked));
  const stories = join(data, "corpora/tinystories/gusjengis_sample_2MB.txt");
  if (existsSync(stories)) {
    // One half to calibrate on, the other to measure on.
    const documents = readFileSync(stories, "utf8").split(separator);
    const half = documents.length >> 1;
    const [calibration, evaluation] = [documents.slice(0, half), documents.slice(half)].map((part, index) => {
      const path = join(directory, `stories-${index}.txt`);
      writeFileSync(path, part.join(separator));
      return path;
    }) as [string, string];
    yield {
      name: "stories15M",
      model: join(data, "weights/llama2c/stories15M.bin"),
      tokenizer: join(data, "weights/llama2c/tokenizer.bin"),
      calibration,
      evaluation,
      calibrationTokens: 32_768,
      evaluationTokens: tokensOr(100_000),
    };
  } else note(`${stories} is not there, so stories15M is not measured.`);
  const tinyllama = process.env["LIANLU_TINYLLAMA"];
  if (tinyllama === undefined || !existsSync(wikipedia)) {
    note("LIANLU_TINYLLAMA names no GGUF file, or there is no text for it, so TinyLlama is not measured.");
    return;
  }
  yield {
    name: "TinyLlama",
    model: tinyllama,
    calibration: join(wikipedia, "valid.txt"),
    evaluation: join(wikipedia, "test.txt"),
    calibrationTokens: 4096,
    evaluationTokens: tokensOr(4096),
  };
}
