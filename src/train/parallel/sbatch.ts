// The script that a cluster with Slurm runs a training by: readable, checked before the ranks start, and taken up again
// when its time is over.
import { Failure } from "../../protocol/errors.ts";

export interface BatchSettings {
  /** The words after `lianlu`. */
  command: readonly string[];
  /** Where the job runs, and how `lianlu` is called there. */
  directory: string;
  lianlu: string;
  name: string;
  nodes: number;
  ranksPerNode: number;
  /** Default: what Slurm gives. */
  coresPerRank?: number | undefined;
  /** As Slurm reads it: "12:00:00", "2-00:00:00", or minutes. */
  time: string;
  partition?: string | undefined;
  account?: string | undefined;
  /** Seconds before the end of its time at which the run is told to save. */
  saveSeconds: number;
  /** What `srun --mpi` is told. */
  mpi: string;
}

/** @throws Failure "usage" for what would not be one word of Slurm's. */
export function sbatchScript(settings: BatchSettings): string {
  const { command, directory, lianlu, name, nodes, ranksPerNode, coresPerRank, time, partition, account } = settings;
  if (!/^(\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2})$/.test(time)) {
    throw new Failure(
      "usage",
      `--time ${time} is no time of Slurm's.`,
      "For example 12:00:00, or 2-00:00:00 for days.",
    );
  }
  for (const [option, value] of Object.entries({ name, partition, account, mpi: settings.mpi })) {
    if (value === undefined || /^[\w.,+-]+$/.test(value)) continue;
    throw new Failure("usage", `--${option} '${value}' is not one word of letters, digits and . , + - _.`);
  }
  const headers = [
    ["job-name", name],
    ["nodes", nodes],
    ["ntasks-per-node", ranksPerNode],
    ["cpus-per-task", coresPerRank],
    ["time", time],
    ["partition", partition],
    ["account", account],
    ["output", `${name}-%j.log`],
    ["open-mode", "append"],
    // The shell is told in time, and tells the ranks.
    ["signal", `B:USR1@${settings.saveSeconds}`],
  ].filter(([, value]) => value !== undefined);
  const ranks = nodes * ranksPerNode;
  return `#!/bin/bash
${headers.map(([key, value]) => `#SBATCH --${key}=${value}`).join("\n")}
#SBATCH --requeue

# Trains on ${ranks} ${ranks === 1 ? "rank" : "ranks"}. When its time is nearly over the run saves and ends, and the job is put back in the queue,
# where it goes on from the snapshot.
set -u
lianlu=${quote(lianlu)}
command=(${command.map(quote).join(" ")})

fail() {
  echo "lianlu submit: $1" >&2
  exit 1
}

cd ${quote(directory)} || fail "the directory is not on this machine; it must lie on a disk that all nodes share."
command -v srun > /dev/null || fail "srun was not found."
srun --mpi=list 2>&1 | grep -qw ${quote(settings.mpi)} || fail "this Slurm has no --mpi=${settings.mpi}: see srun --mpi=list."
# Once, before the ranks start: packages and the native core are made ready.
"$lianlu" --version || fail "$lianlu does not run on this machine."

over=0
save() {
  over=1
  echo "Time is nearly over: asking the ranks to save."
  # The steps of the job get the signal, not this shell.
  scancel --signal=TERM "$SLURM_JOB_ID"
}
trap save USR1

srun --mpi=${settings.mpi} --kill-on-bad-exit=1${coresPerRank === undefined ? "" : ` --cpus-per-task=${coresPerRank}`} "$lianlu" "\${command[@]}" &
step=$!
code=0
wait "$step" || code=$?
# A signal ends the wait, not the step.
while kill -0 "$step" 2> /dev/null; do
  code=0
  wait "$step" || code=$?
done

if [ "$over" = 1 ] && [ "$code" != 0 ]; then
  echo "Saved (exit code $code); back to the queue."
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$code"
`;
}

/** One word of the shell. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
