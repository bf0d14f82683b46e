// The options that say what is pre-trained on what: shape, sources, lengths, batches; for `pretrain` and its plan.
import { trainingPrecisions, type Precision } from "../../kernels/index.ts";
import { familyNames } from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import {
  parseLengths,
  parseSource,
  pretrainDefaults,
  settingsOfDepth,
  type ModelShape,
  type PretrainSettings,
  type SourceSettings,
} from "../../train/index.ts";
import type { OptionValues } from "../command.ts";
import { kebabCase } from "../parse.ts";

const { model, ...settings } = pretrainDefaults;
const size = (what: string, usual: number): string => `${what} (default ${usual})`;

export const shapeOptions = {
  depth: {
    type: "integer",
    min: 1,
    max: 64,
    help: "so many layers; width, heads, batch and learning rate by measured rules, unless they are given",
  },
  family: { type: "choice", values: familyNames(), help: `architecture (default ${model.family})` },
  hidden: { type: "integer", min: 16, max: 16384, help: size("hidden size", model.hiddenSize) },
  layers: { type: "integer", min: 1, max: 256, help: size("blocks", model.layers) },
  heads: { type: "integer", min: 1, max: 256, help: size("query heads", model.heads) },
  kvHeads: { type: "integer", min: 1, max: 256, help: size("key-value heads", model.kvHeads) },
  headDim: { type: "integer", min: 2, max: 256, help: "numbers of a head (default hidden size over heads)" },
  intermediate: { type: "integer", min: 16, max: 65536, help: size("feed-forward size", model.intermediateSize) },
  tieEmbeddings: { type: "boolean", help: "the output layer is the embedding table" },
  experts: { type: "integer", min: 1, max: 512, help: "experts of a layer, for a family that has them" },
  expertsPerToken: { type: "integer", min: 1, max: 64, help: "experts that a token goes to" },
  expertSize: { type: "integer", min: 16, max: 65536, help: "feed-forward size of an expert" },
} as const;

export const batchOptions = {
  length: {
    type: "integer",
    min: 8,
    max: 32768,
    help: size("longest piece of a document, in tokens", settings.length),
  },
  lengths: {
    type: "string",
    placeholder: "N,N,...",
    help: "shorter pieces first: 128,256,512, or with shares of the run 128:0.2,256:0.3,512:0.5",
  },
  batchTokens: { type: "integer", min: 8, max: 1 << 20, help: size("tokens a batch", settings.batchTokens) },
  accumulate: { type: "integer", min: 1, max: 4096, help: size("batches a step", settings.accumulate) },
  batchWarmup: {
    type: "integer",
    min: 0,
    placeholder: "STEPS",
    default: 0,
    help: "steps over which the batches of a step grow from one to all",
  },
  checkpointing: {
    type: "number",
    min: 0,
    max: 1,
    default: 0,
    help: "share of the layers that are run again in the backward pass: less memory, more time",
  },
  precision: {
    type: "choice",
    values: trainingPrecisions,
    default: "f32",
    help: "of products; bf16-backward rounds those of the backward pass to bfloat16",
  },
} as const;

export const sourceOptions = {
  source: {
    type: "strings",
    placeholder: "NAME=DIR",
    help: "one of several token directories; with a weight NAME=DIR:0.7, with epochs NAME=DIR:2ep, or with both",
  },
  epochs: { type: "number", min: 0.001, help: "go through each source that has no epochs of its own so often" },
} as const;

/** The sources that were named, or the one directory. Throws Failure("usage") for neither and for both. */
export function readSources(
  { source, epochs }: OptionValues<typeof sourceOptions>,
  directory: string | undefined,
): SourceSettings[] {
  if ((source.length === 0) === (directory === undefined)) {
    throw new Failure(
      "usage",
      directory === undefined ? "There is nothing to train on." : "Give either a tokens directory, or --source.",
      "For example: lianlu pretrain tokens ..., or --source wiki=tokens-wiki:0.7 --source code=tokens-code:0.3",
    );
  }
  const sources = directory === undefined ? source.map(parseSource) : [{ name: "tokens", tokens: directory }];
  return sources.map((each) => (epochs === undefined ? each : { epochs, ...each }));
}

type BatchSettings = Required<Pick<PretrainSettings, "length" | "batchTokens" | "accumulate" | "batchWarmupSteps">> &
  Pick<PretrainSettings, "lengths" | "checkpointing" | "precision">;

export interface ShapeSettings extends BatchSettings {
  model: ModelShape;
  /** The learning rate of the depth, where one was given. */
  peak: number | undefined;
}

/** Shape and batches: what was given, else what the depth makes of them, else the defaults. */
export function readShape(options: OptionValues<typeof shapeOptions & typeof batchOptions>): ShapeSettings {
  const usual =
    options.depth === undefined
      ? { ...settings, model, peak: undefined }
      : { ...settings, ...settingsOfDepth(options.depth) };
  const length = options.length ?? usual.length;
  const heads = options.heads ?? usual.model.heads;
  const kvHeads = heads % usual.model.kvHeads === 0 ? usual.model.kvHeads : heads;
  return {
    model: {
      family: options.family ?? usual.model.family,
      hiddenSize: options.hidden ?? usual.model.hiddenSize,
      layers: options.layers ?? usual.model.layers,
      heads,
      kvHeads: options.kvHeads ?? kvHeads,
      intermediateSize: options.intermediate ?? usual.model.intermediateSize,
      ...(options.headDim !== undefined && { headDim: options.headDim }),
      ...(options.tieEmbeddings && { tieEmbeddings: true }),
      ...(options.experts !== undefined && { experts: options.experts }),
      ...(options.expertsPerToken !== undefined && { expertsPerToken: options.expertsPerToken }),
      ...(options.expertSize !== undefined && { expertSize: options.expertSize }),
    },
    length,
    ...(options.lengths !== undefined && { lengths: parseLengths(options.lengths) }),
    batchTokens: options.batchTokens ?? usual.batchTokens,
    accumulate: options.accumulate ?? usual.accumulate,
    batchWarmupSteps: options.batchWarmup,
    checkpointing: options.checkpointing,
    precision: options.precision as Precision,
    peak: usual.peak,
  };
}

/** Throws Failure("usage") where a checkpoint is to be trained on and another shape is asked for. */
export function checkNoShape(options: OptionValues<typeof shapeOptions>, from: string): void {
  for (const name of Object.keys(shapeOptions) as (keyof typeof shapeOptions)[]) {
    if (options[name] === undefined || options[name] === false) continue;
    throw new Failure(
      "usage",
      `--${kebabCase(name)} says what a fresh model is like, and --from ${from} has a shape already.`,
      "Leave out one of them.",
    );
  }
}

/** What a depth came to, in a sentence. */
export function describeDepth({ model: shape, length, batchTokens, accumulate }: ShapeSettings, peak: number): string {
  return (
    `Depth ${shape.layers}: hidden ${shape.hiddenSize}, ${shape.heads} heads (${shape.kvHeads} of keys), feed-forward ` +
    `${shape.intermediateSize}, pieces of ${length}, ${batchTokens * accumulate} tokens a step, learning rate ${peak}.`
  );
}
