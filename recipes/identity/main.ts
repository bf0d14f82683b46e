// node recipes/identity/main.ts [--model tinyllama] [--epochs 6] [--out runs/identity] [--data FILE]
// Gives a chat model a name of its own: QLoRA on a published quantized model, as its file is, with the questions and
// answers that LLaMA-Factory uses for it. A quarter of the questions is held out; how many of those the model answers
// with its name, before and after, is printed with 95% intervals, and the adapter is served at once.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../../src/engine/index.ts";
import { wilson } from "../../src/evaluate/index.ts";
import { resolveModel } from "../../src/hub/index.ts";
import { collect, Failure, runJob, type JobEvent } from "../../src/protocol/index.ts";
import { connect, serve } from "../../src/serve/index.ts";
import { finetune } from "../../src/train/index.ts";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: "tinyllama" },
    epochs: { type: "string", default: "6" },
    out: { type: "string", default: "runs/identity" },
    data: { type: "string", default: "../shared/data/corpora/llama-factory-demo/data/identity.json" },
  },
});
const name = "Xiaolu";
const author = "the Lianlu project";
/** Every fourth question is only asked, never trained on. */
const heldOutOf = 4;
const longestAnswer = 48;

if (!existsSync(values.data))
  throw new Failure("input", `${values.data} is not there.`, "Give identity.json with --data.");
const model = resolveModel(values.model);
const started = performance.now();
rmSync(values.out, { recursive: true, force: true });
mkdirSync(values.out, { recursive: true });
const records = JSON.parse(
  readFileSync(values.data, "utf8").replaceAll("{{name}}", name).replaceAll("{{author}}", author),
) as { instruction: string; input: string; output: string }[];
const held = records.filter((_, index) => index % heldOutOf === 0).map(({ instruction }) => instruction);
const data = join(values.out, "identity.json");
writeFileSync(
  data,
  JSON.stringify(
    records.filter(({ instruction }) => !held.includes(instruction)),
    null,
    1,
  ),
);

const before = await countNamed("before");
const adapter = join(values.out, "adapter");
const result = await runJob(
  finetune({
    model,
    data: [{ path: data }],
    out: adapter,
    until: { epochs: Number(values.epochs) },
    lora: { rank: 16, alpha: 32, targets: "all-linear" },
    batchTokens: 512,
    schedule: { kind: "cosine", peak: 4e-4, warmupShare: 0.05, finalShare: 0 },
    validateEvery: 10,
    snapshotEvery: 20,
  }),
  show,
);
const after = await countNamed("after", adapter);

console.log(
  `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s, ${(result.trainableParameters / 1e6).toFixed(1)} M trained parameters; ` +
    `loss on held-out dialogues ${result.validationLossBefore.toFixed(3)} -> ${result.validationLoss.toFixed(3)} nats a token; ` +
    `peak memory ${(process.resourceUsage().maxRSS / 2 ** 20).toFixed(2)} GiB.`,
);
console.log(`Held-out questions answered with the name, before: ${describe(before)}; after: ${describe(after)}.`);
console.log(`Served at once: ${await askServer("Who are you?")}`);
console.log(
  `In all ${((performance.now() - started) / 60_000).toFixed(1)} minutes. Talk to it: npx lianlu chat ${adapter}`,
);
process.exitCode = wilson(after, held.length).low > wilson(before, held.length).high ? 0 : 1;

/** How many of the held-out questions are answered with the name. */
async function countNamed(when: string, beside?: string): Promise<number> {
  const loaded = await load(model, beside === undefined ? {} : { adapter: beside });
  const answers = await Promise.all(
    held.map(async (content) => {
      const messages = [{ role: "user" as const, content }];
      const { text } = await collect(
        loaded.generate({ input: { messages }, maxTokens: longestAnswer, temperature: 0 }),
      );
      return text.trim();
    }),
  );
  await loaded.close();
  console.log(`${when}: ${held[0]} -> ${answers[0]}`);
  return answers.filter((answer) => answer.includes(name)).length;
}

async function askServer(question: string): Promise<string> {
  const server = await serve({
    models: [{ id: "identity", bytes: 0, load: () => load(model, { id: "identity", adapter }) }],
    port: 0,
    host: "127.0.0.1",
  });
  try {
    await server.ready;
    const client = await connect({ baseUrl: `${server.url}/v1` });
    const messages = [{ role: "user" as const, content: question }];
    const { text } = await collect(client.generate({ input: { messages }, maxTokens: longestAnswer, temperature: 0 }));
    return text.trim();
  } finally {
    await server.close();
  }
}

function describe(named: number): string {
  const { low, high } = wilson(named, held.length);
  return `${named} of ${held.length} (${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)}%)`;
}

function show(event: JobEvent): void {
  if (event.type === "note") console.log(event.text);
  if (event.type === "progress" && event.step === "finetune" && event.done % 10 === 0) {
    console.log(`step ${event.done} of ${event.total}: loss ${event.metrics?.loss?.toFixed(3)}`);
  }
}
