// Passes over the batches of a step, and over those of validation: what this rank runs of them, and the means over all.
import type { Tape } from "../tensor/index.ts";
import type { Objective, PassResult, Sum } from "./objective.ts";
import type { Ranks } from "./ranks.ts";
import type { Sampler } from "./sampler.ts";

/** Means over the batches of all ranks, the same bits on each. */
export interface Means {
  /** NaN where there is no weight to divide by. */
  loss: number;
  weight: number;
  parts: Record<string, number>;
}

export interface StepPasses extends Means {
  tokens: number;
  batches: number;
}

/** How the gradients of the ranks come together, as a step sees it (parallel/exchange.ts does it). */
export interface GradientExchange {
  /** Before the last pass of a step that this rank runs. */
  begin(tape: Tape): void;
  /** After the passes of a step: every gradient that this rank needs is the sum over all ranks. */
  finish(tape: Tape): void;
}

export interface PassesOptions<B> {
  tape: Tape;
  objective: Objective<B>;
  ranks: Ranks;
  exchange?: GradientExchange | undefined;
}

/**
 * Draws the batches of a step, counted from 0, and adds up their gradients, of the mean loss over all their weight. Rank r
 * runs those whose place in the step leaves r, so that the data of a step do not depend on how many ranks there are.
 * `firstBatch` is the number of its first batch since the start of the run: what random masks are drawn from.
 */
export async function passesOfStep<B>(
  { tape, objective, ranks, exchange }: PassesOptions<B>,
  sampler: Sampler<B>,
  { step, firstBatch, batches: count }: { step: number; firstBatch: number; batches: number },
): Promise<StepPasses> {
  const batches = Array.from({ length: count }, () => sampler.next());
  const weight = batches.reduce((sum, batch) => sum + objective.weight(batch), 0);
  const mine = batches
    .keys()
    .filter((index) => index % ranks.size === ranks.rank)
    .toArray();
  const results: PassResult[] = [];
  for (const index of mine) {
    const batch = batches[index]!;
    await objective.prepare?.(tape, batch, step);
    tape.pass.randomKey = firstBatch + index;
    if (index === mine.at(-1) && !objective.manyPasses) exchange?.begin(tape);
    results.push(objective.run(tape, batch, weight === 0 ? 0 : 1 / weight));
    tape.pass.randomKey = undefined;
  }
  exchange?.finish(tape);
  return {
    ...meansOf(results, weight, objective, ranks),
    tokens: batches.reduce((sum, batch) => sum + objective.tokens(batch), 0),
    batches: count,
  };
}

/** The means over batches, without gradients; each rank runs its share of them. `step` is that of the weights. */
export async function validate<B>(
  { tape, objective, ranks }: PassesOptions<B>,
  batches: readonly B[],
  step: number,
): Promise<Means> {
  const weight = batches.reduce((sum, batch) => sum + objective.weight(batch), 0);
  const results: PassResult[] = [];
  for (const [index, batch] of batches.entries()) {
    if (index % ranks.size !== ranks.rank) continue;
    await objective.prepare?.(tape, batch, step);
    results.push(objective.run(tape, batch, 0));
  }
  return meansOf(results, weight, objective, ranks);
}

function meansOf<B>(results: readonly PassResult[], weight: number, objective: Objective<B>, ranks: Ranks): Means {
  const parts = new Map<string, Sum>();
  // Ranks add their numbers in one order: the names that a rank has not seen in this step are among them.
  if (ranks.size > 1) for (const name of objective.partNames ?? []) parts.set(name, { sum: 0, weight: 0 });
  let loss = 0;
  for (const result of results) {
    loss += result.loss;
    for (const [name, part] of Object.entries(result.parts ?? {})) {
      const before = parts.get(name);
      if (ranks.size > 1 && before === undefined)
        throw new Error(`${name} is not among the names of the objective's parts`);
      parts.set(name, { sum: (before?.sum ?? 0) + part.sum, weight: (before?.weight ?? 0) + part.weight });
    }
  }
  const sums = Float64Array.of(loss, ...[...parts.values()].flatMap((part) => [part.sum, part.weight]));
  ranks.sum(sums);
  return {
    loss: sums[0]! / weight,
    weight,
    parts: Object.fromEntries(
      [...parts.keys()]
        .map((name, index) => [name, sums[1 + 2 * index]!, sums[2 + 2 * index]!] as const)
        .filter(([, , divisor]) => divisor > 0)
        .map(([name, sum, divisor]) => [name, sum / divisor]),
    ),
  };
}
