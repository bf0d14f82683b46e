// Which of several processes this one is, by what mpirun or srun has set. Costs nothing: neither library is touched.

/** The rank of this process and how many there are; rank 0 of 1 where no starter says so. */
export function ranksOfEnvironment(environment: NodeJS.ProcessEnv = process.env): { rank: number; size: number } {
  const settings: [rank: string, size: string][] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    // srun says how many tasks its step has; a plain shell within an allocation has none.
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
  ];
  for (const [rankName, sizeName] of settings) {
    const [rank, size] = [environment[rankName], environment[sizeName]].map(Number);
    if (Number.isInteger(rank) && Number.isInteger(size)) return { rank: rank!, size: size! };
  }
  return { rank: 0, size: 1 };
}
