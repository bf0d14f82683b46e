// Learning by trial: a model answers prompts through an engine over its own weights, verifiers judge, and GRPO makes better
// answers likelier. One thread does all of it, and nothing is copied between training and answering.
import { loadCheckpoint, setAdapters } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import {
  alone,
  checkTuningPlaces,
  grpo,
  heldOut,
  heldOutPrompts,
  inRunDirectory,
  judgeAnswer,
  loadVerifier,
  openModel,
  openPlace,
  openRanks,
  openTape,
  readPrompts,
  rolloutStore,
  runPreference,
  withDefaults,
  type DataSource,
  type EncodedPrompt,
  type GivenRunOptions,
  type GrpoOptions,
  type OpenRun,
  type PreferenceResult,
  type TuningRunOptions,
} from "../train/index.ts";
import { trainingModel } from "./training-model.ts";

export interface GrpoSettings extends GrpoOptions {
  /** "[WEIGHT*]NAME[:ARGUMENT]" or paths of files, see `loadVerifier`; rewards are added. */
  verifiers: readonly string[];
  /** Most tokens of an answer. */
  maxTokens: number;
  temperature: number;
}

export const grpoDefaults: Omit<GrpoSettings, "verifiers"> = {
  group: 8,
  prompts: 4,
  innerSteps: 1,
  scaleRewards: true,
  clip: 0.2,
  klWeight: 0.04,
  averaging: "sequence",
  maxTokens: 256,
  temperature: 1,
};

export type GrpoTuneOptions = GivenRunOptions & { grpo: Partial<GrpoSettings> & Pick<GrpoSettings, "verifiers"> };

/** Answers that are written at once, at most. */
const mostAtOnce = 32;

/** Trains by GRPO; writes what fine-tuning writes. Throws a Failure where options, prompts or verifiers are of no use. */
export async function* grpoTune({ grpo: wanted, ...given }: GrpoTuneOptions): Job<PreferenceResult> {
  const options: TuningRunOptions = withDefaults(given);
  const settings: GrpoSettings = { ...grpoDefaults, ...wanted };
  checkSettings(settings);
  checkTuningPlaces(options, options);
  const verifiers = await Promise.all(settings.verifiers.map(loadVerifier));
  if (openRanks().size > 1) {
    throw new Failure("usage", "GRPO runs in one process.", "Start it without mpirun; threads are used all the same.");
  }
  const open = yield* openModel(options, alone);
  const { kernels, tuned } = open;
  const { decoder, tokenizer } = tuned;
  const { items, trained } = yield* readAll(options, open, settings);
  const place = await openPlace(options, { grpo: settings }, alone);

  const longest = items.reduce((most, { tokens }) => Math.max(most, tokens.length), 0) + settings.maxTokens;
  const model = trainingModel(kernels, decoder, tokenizer, {
    maxContext: longest,
    sequences: Math.min(mostAtOnce, settings.group * settings.prompts),
  });
  const reference =
    settings.klWeight > 0 && options.method === "full" ? loadCheckpoint(options.model, kernels) : undefined;
  const objective = grpo({
    ...settings,
    ...(options.checkpointing !== undefined && { checkpointing: options.checkpointing }),
    decoder,
    promptIds: items.slice(0, trained).map(({ tokens }) => tokens),
    heldOutIds: items.slice(trained).map(({ tokens }) => tokens),
    accumulate: options.accumulate,
    rows: Math.max(options.batchTokens, longest),
    padId: decoder.config.padTokenId,
    seed: options.seed,
    answer: (prompts, seeds) =>
      model.sample(
        prompts.map((ids) => [...ids]),
        { ...settings, seeds },
      ),
    async judge(prompt, ids) {
      const { record } = items[prompt]!;
      const text = tokenizer.decode(ids);
      const { prompt: messages, reference: right, fields } = record;
      const input = { prompt: messages, answer: text, reference: right, fields };
      return { text, ...(await judgeAnswer(verifiers, input)) };
    },
    withReference(work) {
      if (reference) return work(reference);
      setAdapters(tuned.pairs, false);
      try {
        return work(decoder);
      } finally {
        setAdapters(tuned.pairs, true);
      }
    },
    store: rolloutStore(`${place.run.path}/rollouts`, place.key),
  });
  using tape = openTape(kernels, options);
  const run = runPreference({
    name: "grpo",
    options,
    open,
    place,
    tape,
    objective,
    validation: heldOutPrompts(
      items.slice(trained).map((_, index) => trained + index),
      settings,
    ),
    counts: { examples: trained, heldOut: items.length - trained },
    batchesOf: (epochs) => Math.ceil((epochs * trained) / settings.prompts) * settings.innerSteps,
  });
  return yield* inRunDirectory(place.run, run);
}

/** Prompts to train on, and behind them those that are held out. */
async function* readAll(
  options: TuningRunOptions,
  { tuned, longest }: OpenRun,
  { maxTokens }: GrpoSettings,
): Job<{ items: EncodedPrompt[]; trained: number }> {
  const { examples, seed, signal, data, validation } = options;
  const reading = { ...examples, maxLength: longest - maxTokens, seed, signal };
  if (reading.maxLength < 1) {
    throw new Failure(
      "usage",
      `Answers of ${maxTokens} tokens leave no room for prompts: a sequence has at most ${longest}.`,
      "Lower --max-tokens.",
    );
  }
  const read = async function* (sources: readonly DataSource[]): Job<EncodedPrompt[]> {
    return (yield* readPrompts(tuned.tokenizer, sources, reading)).examples;
  };
  const all = yield* read(data);
  const held = heldOut(all.length, validation ? { seed, validationShare: 0 } : options);
  const train = all.filter((_, index) => !held.has(index));
  const heldItems = validation ? yield* read(validation) : all.filter((_, index) => held.has(index));
  yield { type: "note", text: `${train.length} prompts to train on, ${heldItems.length} held out.` };
  return { items: [...train, ...heldItems], trained: train.length };
}

function checkSettings({ group, verifiers }: GrpoSettings): void {
  if (verifiers.length === 0) {
    throw new Failure(
      "usage",
      "GRPO needs a verifier, which says what an answer is worth.",
      "For example --verifier number, or --verifier ./verify.ts.",
    );
  }
  if (group < 2) {
    throw new Failure("usage", `A group of ${group} answers has nothing to be measured against.`, "Take 2 or more.");
  }
}
