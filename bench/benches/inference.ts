// Inference beside llama.cpp: a 512-token prompt and greedy decode of two Llama shapes with random weights in 8 and 4 bits.
// Both read the same file and take turns. Reported, without a limit.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { defineBench, row, takeTurns } from "../harness.ts";
import { llamaCppMissing, openLianlu, openLlamaCpp, type Subject } from "../inference-subjects.ts";
import { shapes, writeRandomModel } from "../random-model.ts";

const turns = 5;
const promptTokens = 512;
/** Decoding starts after a short prompt, so that it reads weights and hardly any cache. */
const decodeFrom = 16;
const decodeTokens = 33;
/** Threads of either may spin for a while after their work; they must not spin into the other's. */
const restMs = 200;

// Any ids past the bytes.
const ids = Array.from({ length: promptTokens }, (_, i) => 300 + ((i * 7919) % 31000));
const measurements = [
  {
    kind: `prompt ${promptTokens}`,
    tokens: promptTokens,
    run: (subject: Subject) => subject.prompt(ids),
  },
  {
    kind: "decode",
    // The prompt pays for the first.
    tokens: decodeTokens - 1,
    run: (subject: Subject) => subject.decode(ids.slice(0, decodeFrom), decodeTokens),
  },
];

export default defineBench({
  async *rows({ threads, wants, note }) {
    const directory = mkdtempSync(join(tmpdir(), "lianlu-bench-"));
    let noted = false;
    try {
      for (const [size, shape] of Object.entries(shapes)) {
        for (const scheme of ["q8_0", "q4_0"] as const) {
          const name = (kind: string) => `inference ${size} ${scheme} ${kind}`;
          const wanted = measurements.filter(({ kind }) => wants(name(kind)));
          if (wanted.length === 0) continue;
          const path = join(directory, "model.gguf");
          writeRandomModel(path, shape, scheme);
          for (const count of threads) {
            const peer = await openLlamaCpp(path, count);
            if (!peer && !noted) note(llamaCppMissing);
            noted ||= !peer;
            const subjects = [openLianlu(path, count), ...(peer ? [peer.subject] : [])];
            for (const { kind, tokens, run } of wanted) {
              const turn = subjects.map((subject) => async () => {
                const ms = await run(subject);
                await sleep(restMs);
                return ms;
              });
              await takeTurns(turn, 1);
              const [own, other] = await takeTurns(turn, turns);
              const tokensPerSecond = (ms: number) => (tokens * 1000) / ms;
              yield row(name(kind), count, tokensPerSecond(own!), "tokens/s", {
                peer: peer ? `node-llama-cpp ${peer.version}` : null,
                peerValue: other === undefined ? null : tokensPerSecond(other),
              });
            }
            await peer?.close();
          }
          rmSync(path);
        }
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});
