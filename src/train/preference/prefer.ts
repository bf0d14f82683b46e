// Learning from preferences that were given: pairs of answers (DPO, ORPO, a reward model) or rated answers (KTO).
import { writeArtifact } from "../../formats/manifest.ts";
import { adapterTensors, makeTrainable, setAdapters } from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import type { Tape, Tensor } from "../../tensor/index.ts";
import { copyTokenizer } from "../../tokenizer/index.ts";
import { packEpoch } from "../data/packing.ts";
import { readPairs, readRatings, readRecords, type DataSource } from "../data/index.ts";
import type { Objective } from "../objective.ts";
import { onRanks } from "../parallel/ranks.ts";
import type { Ranks } from "../ranks.ts";
import { inRunDirectory } from "../run-directory.ts";
import { checkTuningPlaces, type TunedModel } from "../tuning.ts";
import { heldOut, openPlace, openTape, type OpenPlace } from "../tuning-run.ts";
import type { GivenRunOptions, TuningRunOptions } from "../tuning-settings.ts";
import type { DpoLossOptions } from "./losses/dpo.ts";
import type { KtoLossOptions } from "./losses/kto.ts";
import type { RewardLossOptions } from "./losses/reward.ts";
import { groupLength, placeGroups, type Group, type GroupWalkOptions } from "./packing.ts";
import { dpo, orpo } from "./pairs.ts";
import { behindPrompt, kto, placeRated, ratedLength, type RatedGroup } from "./rated.ts";
import { referenceLogprobs } from "./reference.ts";
import { createValueHead, encodeForReward, rewardTokenOf, writeRewardModel } from "./reward-model.ts";
import { reward } from "./reward-objective.ts";
import {
  openModel,
  runPreference,
  withDefaults,
  type OpenRun,
  type PreferenceResult,
  type PreferenceRun,
} from "./run.ts";

/** What is learnt from preferences, and by which loss. */
export type PreferenceObjective =
  | ({ kind: "dpo" } & DpoLossOptions)
  | { kind: "orpo"; beta: number }
  | ({ kind: "kto" } & KtoLossOptions)
  | ({ kind: "reward" } & RewardLossOptions);

/** The usual numbers of each. */
export const preferenceObjectives = {
  dpo: { kind: "dpo", loss: "sigmoid", beta: 0.1, labelSmoothing: 0 },
  orpo: { kind: "orpo", beta: 0.1 },
  kto: { kind: "kto", beta: 0.1, desirableWeight: 1, undesirableWeight: 1 },
  reward: { kind: "reward", loss: "focal", penalty: 0.01 },
} as const satisfies { [Kind in PreferenceObjective["kind"]]: Extract<PreferenceObjective, { kind: Kind }> };

export type PreferOptions = GivenRunOptions & { objective: PreferenceObjective };

/** What all runs have in common until their objective is made. */
interface Context {
  options: TuningRunOptions;
  open: OpenRun;
  place: OpenPlace;
  tape: Tape;
  walk: GroupWalkOptions;
}

/**
 * Trains by preferences; a reward model is written as a checkpoint, all else as fine-tuning writes it. Under mpirun or srun
 * on all ranks together, of which the first alone writes.
 */
export function prefer(given: PreferOptions): Job<PreferenceResult> {
  return onRanks((ranks) => preferOn(ranks, given));
}

async function* preferOn(ranks: Ranks, { objective: wanted, ...given }: PreferOptions): Job<PreferenceResult> {
  const options: TuningRunOptions = withDefaults(given);
  checkOptions(options, wanted);
  const open = yield* openModel(options, ranks);
  const place = await openPlace(options, { objective: wanted }, ranks);
  using tape = openTape(open.kernels, options);
  const walk = { rows: options.batchTokens, seed: options.seed, padId: open.tuned.decoder.config.padTokenId };
  return yield* inRunDirectory(place.run, preferBy(wanted, { options, open, place, tape, walk }));
}

function preferBy(wanted: PreferenceObjective, context: Context): Job<PreferenceResult> {
  switch (wanted.kind) {
    case "dpo":
    case "orpo":
      return preferPairs(context, wanted);
    case "kto":
      return preferRated(context, wanted);
    case "reward":
      return trainReward(context, wanted);
    default:
      return wanted satisfies never;
  }
}

function checkOptions(options: TuningRunOptions, wanted: PreferenceObjective): void {
  if (wanted.kind === "dpo" && !(wanted.labelSmoothing >= 0 && wanted.labelSmoothing < 0.5)) {
    throw new Failure(
      "usage",
      `A label smoothing of ${wanted.labelSmoothing} is outside [0, 0.5): half of the labels being wrong teaches nothing.`,
      "Leave it out, or take a number like 0.1.",
    );
  }
  if (wanted.kind === "reward" && options.merged !== undefined) {
    throw new Failure("usage", "A reward model is written whole to --out, adapters merged.", "Leave out --merged.");
  }
  checkTuningPlaces(options, { method: wanted.kind === "reward" ? "full" : options.method });
}

async function* preferPairs(
  context: Context,
  wanted: Extract<PreferenceObjective, { kind: "dpo" | "orpo" }>,
): Job<PreferenceResult> {
  const { tokenizer, decoder } = context.open.tuned;
  const { items: pairs, trained } = yield* readSplit(context, "pairs", 2, async function* (sources, options) {
    const { examples, report } = yield* readPairs(tokenizer, sources, options);
    return { items: examples.map(({ chosen, rejected }): Group => [chosen, rejected]), dropped: report.dropped };
  });
  const shared = { decoder, pairs, ...context.walk, trained, ...passOptions(context) };
  const objective =
    wanted.kind === "orpo"
      ? orpo(shared, wanted)
      : dpo({ ...shared, reference: yield* referenceOf(context, pairs) }, wanted);
  const placeNumbers = (numbers: readonly number[]) => placeGroups(pairs, numbers, context.walk);
  return yield* finish(context, objective, { lengths: pairs.map(groupLength), trained, place: placeNumbers });
}

async function* preferRated(
  context: Context,
  wanted: Extract<PreferenceObjective, { kind: "kto" }>,
): Job<PreferenceResult> {
  const { tokenizer, decoder } = context.open.tuned;
  const { items, trained } = yield* readSplit(context, "rated answers", 1, async function* (sources, options) {
    const { examples, report } = yield* readRatings(tokenizer, sources, options);
    // The next answer of the data behind this one's prompt.
    const rated = examples.map((own, index) => {
      const mismatched = behindPrompt(own, examples[(index + 1) % examples.length]!, options.maxLength);
      return { group: [own, mismatched] as const satisfies RatedGroup, good: own.desirable };
    });
    return { items: rated, dropped: report.dropped };
  });
  const answers: RatedGroup[] = items.map(({ group }) => group);
  const good = items.map((item) => item.good);
  const likedCount = good.filter(Boolean).length;
  yield { type: "note", text: `${likedCount} desirable and ${good.length - likedCount} undesirable answers.` };
  // The two sequences of a group are looked at one by one.
  const reference = yield* referenceOf(
    context,
    answers.flatMap(([own, mismatched]): Group[] => [[own], [mismatched]]),
  );
  const objective = kto(
    {
      decoder,
      answers,
      good,
      reference: answers.map((_, index) => Float64Array.of(reference[2 * index]![0]!, reference[2 * index + 1]![0]!)),
      ...context.walk,
      trained,
      ...passOptions(context),
    },
    wanted,
  );
  const place = (numbers: readonly number[]) => placeRated(answers, numbers, context.walk);
  return yield* finish(context, objective, { lengths: answers.map(ratedLength), trained, place });
}

async function* trainReward(
  context: Context,
  wanted: Extract<PreferenceObjective, { kind: "reward" }>,
): Job<PreferenceResult> {
  const { options, open } = context;
  const { kernels } = open;
  const tuned = withoutHead(open.tuned);
  const { tokenizer, decoder } = tuned;
  const rewardToken = rewardTokenOf(tokenizer);
  const { items: pairs, trained } = yield* readSplit(context, "pairs", 2, async function* (sources, reading) {
    const { records } = yield* readRecords(sources, "pair", reading);
    const all = records.map(({ record: { prompt, chosen, rejected, tools } }): Group =>
      [chosen, rejected].map((answer) => encodeForReward(tokenizer, rewardToken, [...prompt, ...answer], tools)),
    );
    const short = all.filter((pair) => pair.every(({ tokens }) => tokens.length <= reading.maxLength));
    return { items: short, dropped: all.length - short.length };
  });
  const valueHead = createValueHead(kernels, decoder.config);
  makeTrainable(kernels, [valueHead]);
  const objective = reward({ decoder, pairs, valueHead, ...context.walk, trained, ...passOptions(context) }, wanted);
  const placeNumbers = (numbers: readonly number[]) => placeGroups(pairs, numbers, context.walk);
  const prepared = { lengths: pairs.map(groupLength), trained, place: placeNumbers, more: [valueHead] };
  return yield* finish(
    { ...context, open: { ...open, tuned } },
    objective,
    prepared,
    async ({ inputs, options: shaping, metrics }, beside) => {
      const artifact = { kind: "checkpoint" as const, inputs, options: shaping, seed: options.seed };
      await writeArtifact(options.out, artifact, (directory) => {
        writeRewardModel(directory, tuned, valueHead, options.weights);
        copyTokenizer(options.model, directory);
        beside(directory);
        return Promise.resolve(metrics);
      });
    },
  );
}

/** The model as it is trained when its output layer is not used. */
function withoutHead(tuned: TunedModel): TunedModel {
  const { decoder, pairs, trained } = tuned;
  const { head, embedding } = decoder;
  const unused = new Set(adapterTensors(pairs.filter(({ name }) => name === head.name)));
  if (head.weight && head.weight !== embedding.weight) unused.add(head.weight);
  return { ...tuned, trained: trained.filter((entry) => !unused.has(entry)) };
}

type Reading = TuningRunOptions["examples"] & { maxLength: number; seed: number; signal: AbortSignal };

/** Reads what is trained on, and behind it what is held out. `sides` sequences share a batch. */
async function* readSplit<Item>(
  { options, open }: Context,
  what: string,
  sides: number,
  read: (sources: readonly DataSource[], options: Reading) => Job<{ items: Item[]; dropped: number }>,
): Job<{ items: Item[]; trained: number }> {
  const { examples, seed, signal, data, validation } = options;
  const maxLength = Math.min(open.longest, Math.floor(options.batchTokens / sides));
  const reading = { ...examples, maxLength, seed, signal };
  const readNoted = async function* (sources: readonly DataSource[]): Job<Item[]> {
    const { items, dropped } = yield* read(sources, reading);
    if (dropped > 0) {
      const whole = `${dropped} of ${items.length + dropped} ${what}`;
      yield { type: "note", text: `${whole} are longer than ${maxLength} tokens a sequence and left out.` };
    }
    return items;
  };
  const all = yield* readNoted(data);
  const held = heldOut(all.length, validation ? { seed, validationShare: 0 } : options);
  const trainItems = all.filter((_, index) => !held.has(index));
  const heldItems = validation ? yield* readNoted(validation) : all.filter((_, index) => held.has(index));
  if (trainItems.length === 0) {
    throw new Failure(
      "input",
      `${data.map(({ path }) => path).join(", ")}: no ${what} of at most ${maxLength} tokens a sequence are there to train on.`,
      "Raise --batch-tokens, or shorten them.",
    );
  }
  yield { type: "note", text: `${trainItems.length} ${what} to train on, ${heldItems.length} held out.` };
  return { items: [...trainItems, ...heldItems], trained: trainItems.length };
}

/** Log-probabilities by the model as it was before: without its adapters, or with the weights that it begins with. */
async function* referenceOf({ open, place, tape, walk }: Context, groups: readonly Group[]): Job<Float64Array[]> {
  const { tuned, ranks } = open;
  setAdapters(tuned.pairs, false);
  try {
    const kept = { directory: place.run.path, key: place.key, writes: ranks.rank === 0 };
    return yield* referenceLogprobs(tape, tuned.decoder, groups, walk, kept);
  } finally {
    setAdapters(tuned.pairs, true);
  }
}

function passOptions({ options: { checkpointing } }: Context): { checkpointing?: number } {
  return checkpointing === undefined ? {} : { checkpointing };
}

interface Prepared<B> {
  /** Rows of each group. */
  lengths: readonly number[];
  /** The first so many are trained on. */
  trained: number;
  place(numbers: readonly number[]): B;
  /** Trained beside the model. */
  more?: readonly Tensor[];
}

function finish<B>(
  { options, open, place: runPlace, tape, walk }: Context,
  objective: Objective<B>,
  { lengths, trained, place, more }: Prepared<B>,
  write?: PreferenceRun<B>["write"],
): Job<PreferenceResult> {
  const own = lengths.slice(0, trained);
  return runPreference({
    name: "prefer",
    options,
    open,
    place: runPlace,
    tape,
    objective,
    validation: packEpoch(lengths.slice(trained), walk, 0).map((numbers) =>
      place(numbers.map((number) => trained + number)),
    ),
    counts: { examples: trained, heldOut: lengths.length - trained },
    ...(more && { more }),
    batchesOf(epochs) {
      const whole = Math.floor(epochs);
      let batches = 0;
      for (let epoch = 0; epoch < whole; epoch++) batches += packEpoch(own, walk, epoch).length;
      return batches + (epochs - whole) * packEpoch(own, walk, whole).length;
    },
    // A reward model's snapshots would lack its head as results.
    ...(write && { write }),
  });
}
