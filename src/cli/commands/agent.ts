import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { rewrite, type Draft } from "../../agent/index.ts";
import { checkArtifactPlace, writeArtifact } from "../../formats/manifest.ts";
import type { LanguageModel } from "../../protocol/language-model.ts";
import { defineCommand } from "../command.ts";
import { openModel } from "../open-model.ts";

const defaultTopics = ["春望", "秋夜", "山居", "送别", "江雪", "明月", "登高", "梅花"];

export default defineCommand({
  summary: "Let a model write poems, check them with a tool, and rewrite what fails.",
  usage: "lianlu agent MODEL|URL [--topic TITLE]... [--out DIR]",
  examples: [
    { command: "lianlu agent tuned --topic 秋夜 --tries 8", help: "one poem by a model on this machine" },
    {
      command: "lianlu agent http://127.0.0.1:23333/v1 --out accepted",
      help: "eight poems through a server; accepted ones become training data",
    },
  ],
  positionals: { min: 1, max: 1, help: "a model, its name, or the base URL of an OpenAI-compatible server" },
  options: {
    topic: { type: "strings", placeholder: "TITLE", help: "what to write about; may be given again" },
    tries: { type: "integer", min: 1, max: 100, default: 8, help: "poems written at most for a topic" },
    temperature: { type: "number", min: 0, max: 2, default: 0.9, help: "sampling temperature" },
    topP: { type: "number", min: 0.01, max: 1, default: 0.95, help: "nucleus of the sampling" },
    seed: { type: "integer", min: 0, max: 0xffffffff, default: 1, help: "decides the poems" },
    adapter: { type: "string", placeholder: "DIR", help: "PEFT adapter for a model directory" },
    out: {
      type: "string",
      placeholder: "DIR",
      help: "directory for accepted.jsonl (dialogues for `lianlu finetune --data`) and drafts.jsonl",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const target = positionals[0]!;
    if (options.out !== undefined) checkArtifactPlace(options.out, "dialogues");
    const topics = options.topic.length > 0 ? options.topic : defaultTopics;
    await using model = closing((await openModel(target, { adapter: options.adapter })).model);
    const drafts: (Draft & { topic: string; request: string })[] = [];
    let accepted = 0;
    for (const [index, topic] of topics.entries()) {
      const request = `以《${topic}》为题写一首五言绝句`;
      const seed = options.seed + 1000 * index;
      const { tries, temperature, topP } = options;
      for await (const draft of rewrite({ model, request, tries, temperature, topP, seed, signal })) {
        drafts.push({ ...draft, topic, request });
        if (draft.passed) accepted++;
        report({ type: "text", text: describe(topic, draft) });
      }
      report({
        type: "progress",
        step: "agent",
        done: index + 1,
        total: topics.length,
        unit: "topics",
        metrics: { accepted },
      });
    }
    const result = {
      topics: topics.length,
      drafts: drafts.length,
      toolCalls: drafts.length,
      acceptedFirst: drafts.filter(({ passed, attempt }) => passed && attempt === 1).length,
      accepted,
    };
    if (options.out !== undefined) {
      const provenance = { model: model.id, tool: "check_quatrain", ...options };
      await writeArtifact(
        options.out,
        { kind: "dialogues", options: { ...options, topics, model: target }, seed: options.seed },
        (directory) => {
          writeLines(join(directory, "drafts.jsonl"), drafts);
          writeLines(
            join(directory, "accepted.jsonl"),
            drafts
              .filter(({ passed }) => passed)
              .map(({ request, poem, attempt, seed }) => ({
                messages: [
                  { role: "user", content: request },
                  { role: "assistant", content: poem },
                ],
                meta: { ...provenance, attempt, seed },
              })),
          );
          return Promise.resolve(result);
        },
      );
    }
    print(
      `${accepted} of ${topics.length} topics have a poem that keeps every rule, after ${drafts.length} drafts (${result.acceptedFirst} at once).`,
    );
    return result;
  },
});

function describe(topic: string, { attempt, poem, passed, faults }: Draft): string {
  const verdict = passed ? "passes" : (faults[0]?.english ?? "fails");
  return `《${topic}》 ${attempt}: ${poem.replaceAll("\n", "")}  ${verdict}\n`;
}

function writeLines(path: string, rows: readonly unknown[]): void {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

function closing(model: LanguageModel): LanguageModel & AsyncDisposable {
  return Object.assign(model, { [Symbol.asyncDispose]: () => model.close() });
}
