// Fine-tuning on dialogues, texts and tokens: adapters beside frozen weights, or the weights themselves.
import { loadKernels } from "../kernels/index.ts";
import type { Job } from "../protocol/job.ts";
import { tokenizerOf } from "../tokenizer/index.ts";
import { meanLength, type Batch } from "./batch.ts";
import { readExamples, sourceNames, type ExampleReport } from "./data/index.ts";
import { createPackedSampler, packedBatches, packingReport, type PackedState } from "./data/packing.ts";
import { flopsPerToken } from "./flops.ts";
import { onRanks } from "./parallel/ranks.ts";
import { checkTraining, describePlan, planTraining } from "./plan/plan.ts";
import { checkStored, readStoredModel } from "./plan/stored.ts";
import { checkBatches, type Ranks } from "./ranks.ts";
import { inRunDirectory } from "./run-directory.ts";
import { mixedTokens } from "./sources/objective.ts";
import { checkTuningPlaces, describeTuned, openTuned } from "./tuning.ts";
import { finishTuned, heldOut, openPlace, openTape, trainTuned, type TuningRun } from "./tuning-run.ts";
import {
  finetuneDefaults,
  tuningShape,
  usualRates,
  withDefaultsOf,
  type GivenRunOptions,
  type TuningRunOptions,
} from "./tuning-settings.ts";
import type { MetricsRow } from "./watch/meters.ts";

export type FinetuneOptions = GivenRunOptions;

export interface FinetuneResult {
  examples: number;
  data: ExampleReport;
  trainableParameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Nats a trained token on examples that were held out, before and after. */
  validationLossBefore: number;
  validationLoss: number;
  curve: readonly MetricsRow[];
}

/** Tunes; under mpirun or srun on all ranks together, of which the first alone writes. */
export function finetune(given: FinetuneOptions): Job<FinetuneResult> {
  return onRanks((ranks) => finetuneOn(ranks, withDefaultsOf(given, finetuneDefaults, usualRates)));
}

async function* finetuneOn(ranks: Ranks, options: TuningRunOptions): Job<FinetuneResult> {
  const { model, data, validation: heldOutData = [], batchTokens, seed, signal } = options;
  checkTuningPlaces(options, options);
  checkBatches(options.accumulate, ranks);
  const kernels = loadKernels();
  const tokenizer = tokenizerOf(model);
  const stored = readStoredModel(model);
  checkStored(model, stored, options);
  const { config } = stored;
  const longest = Math.min(batchTokens, config.maxPositions, options.examples.maxLength ?? Infinity);
  const exampleOptions = { ...options.examples, maxLength: longest, seed, signal };
  const { examples, report } = yield* readExamples(tokenizer, data, exampleOptions);
  const chosen = heldOut(examples.length, options.validation ? { seed, validationShare: 0 } : options);
  const trainExamples = examples.filter((_, index) => !chosen.has(index));
  const validationExamples = options.validation
    ? (yield* readExamples(tokenizer, heldOutData, exampleOptions)).examples
    : examples.filter((_, index) => chosen.has(index));
  if (options.validation) for (const example of validationExamples) example.source += data.length;
  yield { type: "note", text: describeExamples(report, trainExamples.length, validationExamples.length) };

  const packing = { rows: batchTokens, seed, padId: config.padTokenId };
  const batch = createPackedSampler(trainExamples, packing).next();
  const shape = tuningShape(model, options, batch, ranks);
  const plan = planTraining(shape);
  yield { type: "note", text: describePlan(plan) };
  checkTraining(plan);
  const tuned = openTuned(kernels, model, options);
  yield { type: "note", text: describeTuned(tuned, options) };
  const place = await openPlace(options, {}, ranks);
  using tape = openTape(kernels, options);
  const parts: TuningRun<Batch> = {
    name: "finetune",
    options,
    ranks,
    tuned,
    place,
    tape,
    // Held-out data are sources of their own, so that the losses of both are told apart.
    objective: mixedTokens(
      tuned.decoder,
      sourceNames([...data, ...heldOutData]),
      (from) => createPackedSampler(trainExamples, packing, from as PackedState | undefined),
      options,
    ),
    validation: packedBatches(validationExamples, packing),
    batchesOf: (epochs) => epochs * packingReport(trainExamples, packing).batches,
    shape,
    flopsPerToken: flopsPerToken(config, meanLength(batch), { frozen: options.method === "lora" }),
  };
  const { result, before, trainableParameters } = yield* inRunDirectory(place.run, trainTuned(parts));
  const figures = {
    trainableParameters,
    steps: result.steps,
    tokensPerSecond: result.tokensPerSecond,
    validationLossBefore: before.loss,
    validationLoss: result.validationLoss,
  };
  await finishTuned(parts, { ...figures, trainLoss: result.lastLoss });
  return { ...figures, examples: examples.length, data: report, curve: result.curve };
}

function describeExamples(report: ExampleReport, training: number, held: number): string {
  const { dropped, cut, untrained, bad, tokens, trained } = report;
  const left = Object.entries({ "too long": dropped, "not learnt": untrained, bad }).filter(([, count]) => count > 0);
  const out = left.map(([why, count]) => `${count} ${why}`).join(", ");
  return (
    `${training} examples to train on, ${held} held out; ${tokens} tokens, ${((100 * trained) / tokens).toFixed(0)}% of them learnt` +
    `${cut > 0 ? `; ${cut} cut` : ""}${out && `; left out: ${out}`}.`
  );
}
