import { writeInstructions } from "../../corpus/instructions/index.ts";
import { readCorpus } from "../../corpus/index.ts";
import { hashInput, readManifest } from "../../formats/manifest.ts";
import { runJob } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";

export default defineCommand({
  summary: "Make dialogues by rule from a corpus, to fine-tune on and to evaluate with.",
  usage: "lianlu instructions CORPUS --out DIR",
  examples: [
    {
      command: "lianlu instructions corpus --out instructions",
      help: "write a quatrain on a title, continue a line, name the author; some titles are held out",
    },
  ],
  positionals: { min: 1, max: 1, help: "a directory that `lianlu data` wrote" },
  options: {
    out: { type: "string", required: true, placeholder: "DIR", help: "directory to write" },
    rules: { type: "string", default: "poems", placeholder: "NAME", help: "the set of rules" },
    heldOutShare: { type: "number", min: 0, max: 0.9, default: 0.02, help: "share of the titles kept for evaluation" },
    seed: { type: "integer", min: 0, max: 0xffffffff, default: 1, help: "decides wordings and what is held out" },
  },
  async run({ options, positionals, signal, report, print }) {
    const corpus = positionals[0]!;
    readManifest(corpus, "corpus");
    const job = writeInstructions({
      documents: readCorpus(corpus),
      input: await hashInput(corpus),
      signal,
      ...options,
    });
    const { metrics } = await runJob(job, report);
    const byRule = Object.entries(metrics.byRule).map(([rule, count]) => `${count} ${rule}`);
    print(
      `${metrics.instructions} instructions (${byRule.join(", ")}), ${metrics.heldOut} held out. Written: ${options.out}`,
    );
    return metrics;
  },
});
