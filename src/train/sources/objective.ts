// The next token of documents from several sources: one loss to train on, and the loss of each source beside it.
import type { Decoder } from "../../model/index.ts";
import { decoderPartNames, decoderParts, nextToken, type Objective, type Sum } from "../objective.ts";
import type { Sampler, SamplerState } from "../sampler.ts";
import { runBatch, type PassOptions } from "../step.ts";

/** As `nextToken`; with several sources a pass also gives `loss/NAME` for those that are in its batch. */
export function mixedTokens(
  decoder: Decoder,
  names: readonly string[],
  sampler: (from: SamplerState | undefined) => Sampler,
  options: PassOptions = {},
): Objective {
  const plain = nextToken(decoder, sampler, options);
  if (names.length === 1) return plain;
  return {
    ...plain,
    partNames: [...decoderPartNames(decoder), ...names.map((name) => `loss/${name}`)],
    run(tape, batch, gradientScale) {
      const sums = names.map((): Sum => ({ sum: 0, weight: 0 }));
      const loss = runBatch(tape, decoder, batch, gradientScale, {
        ...options,
        eachRow(losses) {
          for (const [row, target] of batch.targets.entries()) {
            if (target < 0) continue;
            const part = sums[batch.sources?.[row] ?? 0]!;
            part.sum += losses[row]!;
            part.weight++;
          }
        },
      });
      const parts = decoderParts(tape, decoder, batch.trained, gradientScale);
      for (const [index, part] of sums.entries()) if (part.weight > 0) parts[`loss/${names[index]}`] = part;
      return { loss, parts };
    },
  };
}
