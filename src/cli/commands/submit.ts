import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { environmentFailure } from "../../formats/manifest.ts";
import { Failure } from "../../protocol/errors.ts";
import { sbatchScript } from "../../train/parallel/sbatch.ts";
import { defineCommand } from "../command.ts";

/** What runs on ranks. */
const trainingVerbs = ["pretrain", "finetune", "train", "prefer"];

export default defineCommand({
  summary: "Train on a cluster with Slurm: write the job's script and hand it in.",
  usage: "lianlu submit --time TIME [--nodes N] [--ranks-per-node N] [--dry-run] -- VERB ...",
  examples: [
    {
      command:
        "lianlu submit --nodes 2 --ranks-per-node 4 --time 12:00:00 -- pretrain tokens --out base --steps 5000 --accumulate 8",
      help: "eight ranks; when the time is over the run saves and goes on in a job of its own",
    },
    { command: "lianlu submit --time 1:00:00 --dry-run -- pretrain tokens --out base --steps 500", help: "print it" },
    { command: "lianlu submit --time 2:00:00 tune.ts", help: "what `lianlu train tune.ts` would run" },
  ],
  positionals: { min: 1, max: 1000, help: "after `--`, a training command with its options; or a configuration file" },
  options: {
    time: { type: "string", required: true, placeholder: "TIME", help: "as Slurm reads it: 12:00:00, 2-00:00:00" },
    nodes: { type: "integer", min: 1, max: 100_000, default: 1, help: "machines" },
    ranksPerNode: { type: "integer", min: 1, max: 1024, default: 1, help: "processes on each; one a socket is good" },
    coresPerRank: { type: "integer", min: 1, max: 1024, help: "default: what the cluster gives" },
    partition: { type: "string", placeholder: "NAME", help: "default: the cluster's" },
    account: { type: "string", placeholder: "NAME", help: "default: yours" },
    name: { type: "string", default: "lianlu", placeholder: "NAME", help: "of the job, its script and its log" },
    saveBefore: {
      type: "integer",
      min: 10,
      max: 86_400,
      default: 300,
      placeholder: "SECONDS",
      help: "before its time is over the run is told to save; more than a step and a snapshot take",
    },
    mpi: { type: "string", default: "pmix", placeholder: "KIND", help: "what `srun --mpi` is told" },
    dryRun: { type: "boolean", help: "print the script, write and submit nothing" },
  },
  run({ options, positionals, print }) {
    const [first, ...rest] = positionals as [string, ...string[]];
    const command = /\.([cm]?[jt]s|json)$/.test(first) ? ["train", first, ...rest] : positionals;
    if (!trainingVerbs.includes(command[0]!)) {
      throw new Failure(
        "usage",
        `'${command[0]}' is nothing that is trained on ranks.`,
        `Expected one of: ${trainingVerbs.join(", ")}, or a configuration file. Write \`--\` before it.`,
      );
    }
    const { saveBefore, dryRun, ...settings } = options;
    const lianlu = fileURLToPath(new URL("../../../scripts/lianlu.mjs", import.meta.url));
    const script = sbatchScript({ ...settings, command, lianlu, directory: process.cwd(), saveSeconds: saveBefore });
    if (dryRun) {
      print(script);
      return Promise.resolve({ script });
    }
    const file = resolve(`${options.name}.sbatch`);
    if (existsSync(file)) {
      throw new Failure("usage", `${file} is there already.`, "Choose another --name, or remove it.");
    }
    try {
      writeFileSync(file, script, { mode: 0o755 });
    } catch (error) {
      throw environmentFailure(error, file);
    }
    const { error, status, stdout, stderr } = spawnSync("sbatch", ["--parsable", file], { encoding: "utf8" });
    if (error) {
      throw new Failure(
        "environment",
        `sbatch was not found, so nothing is submitted. The script is ${file}.`,
        "Run `sbatch` with it where Slurm is installed.",
      );
    }
    if (status !== 0) {
      throw new Failure(
        "environment",
        `sbatch refused ${file}: ${stderr.trim() || stdout.trim()}`,
        "Change the options.",
      );
    }
    const job = stdout.trim().split(";")[0]!;
    print(`Job ${job} is submitted: ${file}; it writes ${options.name}-${job}.log.`);
    return Promise.resolve({ job, file });
  },
});
