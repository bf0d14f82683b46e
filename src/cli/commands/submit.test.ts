// The script for Slurm: handed to a made-up sbatch, and run with a made-up srun.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { refused, run } from "../test-command.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-submit-"));
after(() => rmSync(folder, { recursive: true }));
const main = fileURLToPath(new URL("../main.ts", import.meta.url));

/** A directory of commands that come first on the PATH. */
function commands(name: string, scripts: Record<string, string>): string {
  const directory = mkdtempSync(join(folder, `${name}-`));
  for (const [command, script] of Object.entries(scripts)) {
    writeFileSync(join(directory, command), `#!/bin/bash\n${script}\n`);
    chmodSync(join(directory, command), 0o755);
  }
  return directory;
}

const asked = ["submit", "--nodes", "2", "--ranks-per-node", "4", "--time", "12:00:00", "--partition", "cpu"];
const training = ["--", "pretrain", "my tokens", "--out", "base", "--steps", "50"];

test("the script asks for what was asked, and quotes the command", async () => {
  const { out, code } = await run([...asked, "--dry-run", ...training]);
  assert.equal(code, 0);
  for (const line of [
    "#SBATCH --nodes=2",
    "#SBATCH --ntasks-per-node=4",
    "#SBATCH --time=12:00:00",
    "#SBATCH --partition=cpu",
    "#SBATCH --requeue",
    "#SBATCH --signal=B:USR1@300",
    "command=(pretrain 'my tokens' --out base --steps 50)",
  ]) {
    assert.ok(out.includes(`${line}\n`), `${line} in\n${out}`);
  }
  assert.equal(spawnSync("bash", ["-n"], { input: out }).status, 0, "the shell reads it");
  const config = await run(["submit", "--time", "60", "--dry-run", "tune.ts"]);
  assert.match(config.out, /command=\(train tune\.ts\)/);
});

test("sbatch gets the script; without it the script is left and named", async () => {
  const path = commands("sbatch", { sbatch: `echo "$@" > ${join(folder, "asked")}; echo '4711;cluster'` });
  const submitted = spawnSync(process.execPath, [main, ...asked, ...training], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, PATH: `${path}:${process.env["PATH"]}` },
  });
  assert.equal(submitted.status, 0, submitted.stderr);
  assert.match(submitted.stdout, /Job 4711 is submitted/);
  assert.equal(readFileSync(join(folder, "asked"), "utf8").trim(), `--parsable ${join(folder, "lianlu.sbatch")}`);
  const [node] = [commands("bare", { node: "" })];
  const bare = spawnSync(process.execPath, [main, ...asked, "--name", "bare", ...training], {
    cwd: folder,
    encoding: "utf8",
    env: { PATH: node },
  });
  assert.equal(bare.status, 4);
  assert.match(bare.stderr, /sbatch was not found.*bare\.sbatch/);
  assert.ok(existsSync(join(folder, "bare.sbatch")));
});

test("what Slurm would misread is refused", async () => {
  await refused(["submit", "--time", "soon", ...training], 2, /--time soon is no time/);
  await refused(["submit", "--time", "1:00:00", "--partition", "a b", ...training], 2, /--partition 'a b'/);
  await refused(["submit", "--time", "1:00:00", "--", "chat", "base"], 2, /'chat' is nothing that is trained/);
});

/** Runs a script as Slurm would; `srun` is what the ranks do. */
async function runScript(srun: string, signalAfterMs?: number) {
  const { out } = await run([...asked, "--dry-run", ...training]);
  const directory = mkdtempSync(join(folder, "job-"));
  const log = join(directory, "log");
  const path = commands("slurm", {
    srun: `[ "$1" = --mpi=list ] && { echo "MPI plugin types are... none pmix"; exit; }\necho "srun $*" >> ${log}\n${srun}`,
    scancel: `echo "scancel $*" >> ${log}; kill -TERM "$(cat ${join(directory, "srun.pid")})"`,
    scontrol: `echo "scontrol $*" >> ${log}`,
    lianlu: "echo 1.0",
  });
  const script = out.replace(/^lianlu=.*$/m, `lianlu=${join(path, "lianlu")}`).replace(/^cd \S+/m, `cd ${directory}`);
  const child = spawn("bash", ["-c", script], {
    env: { ...process.env, PATH: `${path}:${process.env["PATH"]}`, SLURM_JOB_ID: "7" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (signalAfterMs !== undefined) {
    const started = Date.now();
    while (!existsSync(join(directory, "srun.pid")) && Date.now() - started < 20_000) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    child.kill("SIGUSR1");
  }
  const [said, code] = await Promise.all([
    text(child.stderr),
    new Promise<number | null>((resolve) => child.on("close", resolve)),
  ]);
  return { code, said, log: existsSync(log) ? readFileSync(log, "utf8") : "" };
}

test("the script ends as the ranks do; when its time is over they are told to save and the job is put back", async () => {
  const done = await runScript("exit 0");
  assert.equal(done.code, 0, done.said);
  assert.match(done.log, /srun --mpi=pmix --kill-on-bad-exit=1 \S+lianlu pretrain my tokens --out base --steps 50/);
  assert.doesNotMatch(done.log, /requeue/);
  assert.equal((await runScript("exit 5")).code, 5);
  const over = await runScript(`trap 'exit 130' TERM; echo $$ > srun.pid; while true; do sleep 0.05; done`, 1);
  assert.equal(over.code, 0, over.said);
  assert.match(over.log, /scancel --signal=TERM 7\n/);
  assert.match(over.log, /scontrol requeue 7\n/);
});
