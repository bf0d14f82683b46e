// What pre-training starts from: a fresh decoder of a family and a shape, or the weights of a checkpoint.
import type { Kernels } from "../kernels/index.ts";
import {
  countParameters,
  familyOf,
  initializeDecoder,
  loadCheckpoint,
  parseConfig,
  readConfig,
  type Decoder,
  type DecoderConfig,
} from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/index.ts";
import { checkWhole, readStoredModel } from "./plan/stored.ts";

/** The shape of a fresh model; what the tokenizer decides is filled in. */
export interface ModelShape {
  family: string;
  hiddenSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  intermediateSize: number;
  /** Default hiddenSize / heads. */
  headDim?: number;
  /** The output layer is the embedding table. Default false. */
  tieEmbeddings?: boolean;
  ropeTheta?: number;
  /** Of a family with experts: how many there are in a layer, how many of them a token meets, and their size. */
  experts?: number;
  expertsPerToken?: number;
  expertSize?: number;
}

/** The config of a fresh model that reads pieces of up to `length` tokens. Throws Failure("usage") for a shape that cannot be. */
export function freshConfig(
  shape: ModelShape,
  tokenizer: Pick<Tokenizer, "vocabSize" | "bosId" | "eosId" | "padId" | "stopIds">,
  length: number,
): DecoderConfig {
  checkShape(shape);
  const where = "the shape of the model";
  // Through the family's own reader, so that what the family always has (biases, norms of heads) is there.
  const config = parseConfig(
    {
      model_type: shape.family,
      vocab_size: tokenizer.vocabSize,
      hidden_size: shape.hiddenSize,
      num_hidden_layers: shape.layers,
      num_attention_heads: shape.heads,
      num_key_value_heads: shape.kvHeads,
      head_dim: headDimOf(shape),
      intermediate_size: shape.intermediateSize,
      rms_norm_eps: 1e-5,
      rope_theta: shape.ropeTheta ?? 10000,
      max_position_embeddings: length,
      tie_word_embeddings: shape.tieEmbeddings ?? false,
      bos_token_id: tokenizer.bosId ?? tokenizer.eosId,
      eos_token_id: [...tokenizer.stopIds],
      pad_token_id: tokenizer.padId ?? tokenizer.eosId,
      initializer_range: 0.02,
      ...(shape.experts !== undefined && {
        num_experts: shape.experts,
        num_experts_per_tok: shape.expertsPerToken,
        norm_topk_prob: true,
        moe_intermediate_size: shape.expertSize ?? shape.intermediateSize,
      }),
    },
    where,
  );
  if (config.experts && shape.experts === undefined) {
    throw new Failure(
      "usage",
      `${config.family} is a family of mixtures of experts, and how many there are was not said.`,
      "Give --experts and --experts-per-token, or choose another family.",
    );
  }
  const written = parseConfig(familyOf(config.family).formatConfig(config), where);
  if (written.headDim !== config.headDim) {
    throw new Failure(
      "usage",
      `Checkpoints of ${config.family} have heads of hidden size over heads, ${written.headDim} numbers, and not ${config.headDim}.`,
      "Leave out --head-dim, or choose a family that says it: llama, qwen3.",
    );
  }
  return config;
}

function headDimOf({ headDim, hiddenSize, heads }: ModelShape): number {
  return headDim ?? hiddenSize / heads;
}

const mostHeadDim = 256;

function checkShape(shape: ModelShape): void {
  const { hiddenSize, heads, kvHeads, experts, expertsPerToken } = shape;
  const headDim = headDimOf(shape);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || headDim > mostHeadDim) {
    throw new Failure(
      "usage",
      `--hidden ${hiddenSize} over --heads ${heads} gives ${headDim} numbers a head; an even integer up to ${mostHeadDim} is needed.`,
      "Change one of them, or give --head-dim.",
    );
  }
  if (heads % kvHeads !== 0) {
    throw new Failure("usage", `--heads ${heads} is not a multiple of --kv-heads ${kvHeads}.`);
  }
  if (experts !== undefined && !((expertsPerToken ?? 0) >= 1 && expertsPerToken! <= experts)) {
    throw new Failure(
      "usage",
      `${expertsPerToken ?? "No"} experts a token are asked for, of ${experts}.`,
      "Give --experts-per-token between 1 and --experts.",
    );
  }
}

/** What is known of the model before anything is loaded or made. */
export interface StartingModel {
  config: DecoderConfig;
  parameters: number;
  make(kernels: Kernels, seed: number): Decoder;
}

/** A fresh model of this shape. */
export function freshModel(shape: ModelShape, tokenizer: Tokenizer, length: number): StartingModel {
  const config = freshConfig(shape, tokenizer, length);
  return {
    config,
    parameters: countParameters(config),
    make: (kernels, seed) => initializeDecoder(kernels, config, seed),
  };
}

/** The model of a checkpoint, whose tokenizer and positions must do for the data. */
export function checkpointModel(path: string, tokenizer: Tokenizer, length: number): StartingModel {
  const config = readConfig(path);
  if (loadTokenizer(path).id !== tokenizer.id) {
    throw new Failure(
      "input",
      `The tokens were not made with the tokenizer of ${path}.`,
      `Make them again: lianlu tokenize CORPUS --out DIR --tokenizer ${path}`,
    );
  }
  if (length > config.maxPositions) {
    throw new Failure(
      "usage",
      `Pieces of ${length} tokens were asked for, and ${path} has ${config.maxPositions} positions.`,
      `Give --length ${config.maxPositions} or less.`,
    );
  }
  checkWhole(path, readStoredModel(path));
  return {
    config,
    parameters: countParameters(config),
    make: (kernels) => loadCheckpoint(path, kernels),
  };
}
