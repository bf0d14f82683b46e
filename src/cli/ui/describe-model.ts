// What a model is, in words: its shape, its weights by type, its tokenizer and chat template, and what it will cost.
import { planModel, planSpeed } from "../../engine/index.ts";
import { openGguf } from "../../formats/index.ts";
import { openCheckpointTensors } from "../../formats/safetensors.ts";
import { configFromGguf, ggufFileOf, readConfig, type DecoderConfig } from "../../model/index.ts";
import { loadTokenizer } from "../../tokenizer/index.ts";
import { readTokenizerConfig } from "../../tokenizer/tokenizer-config.ts";
import { withoutControls } from "./controls.ts";
import { formatBytes, formatNumber, table } from "./table.ts";

export interface ModelDescription {
  path: string;
  config: DecoderConfig;
  parameters: number;
  /** By type, the most bytes first. */
  weights: { type: string; tensors: number; bytes: number }[];
  tokenizer: { tokens: number; toolCalls: string };
  chatTemplate: string | undefined;
}

/** Throws Failure("input") for what is no model. */
export function describeModel(path: string): ModelDescription & { text: string } {
  const stored = readStored(path);
  const plan = planModel(path);
  const speed = planSpeed(path);
  const { vocabSize, chatDialect } = loadTokenizer(stored.file ?? path);
  const { config, weights, chatTemplate } = stored;
  const description: ModelDescription = {
    path,
    config,
    parameters: plan.parameters,
    weights,
    tokenizer: { tokens: vocabSize, toolCalls: chatDialect },
    chatTemplate,
  };
  const windows = new Set(config.slidingWindows ?? []);
  const facts: [string, string][] = [
    ["family", config.family],
    ["parameters", formatNumber(plan.parameters)],
    ["layers", `${config.layers}, hidden ${config.hiddenSize}, feed-forward ${config.intermediateSize}`],
    ["attention", `${config.heads} heads of ${config.headDim}, ${config.kvHeads} for keys and values`],
    [
      "rope",
      `theta ${formatNumber(config.ropeTheta)}${config.ropeScaling ? `, scaled: ${config.ropeScaling.type}` : ""}`,
    ],
    [
      "context",
      `${formatNumber(config.maxPositions)} tokens${windows.size > 0 ? `, windows of ${[...windows].join(" and ")} (0: all)` : ""}`,
    ],
    [
      "vocabulary",
      `${formatNumber(vocabSize)} tokens, tool calls as ${chatDialect}${config.tieEmbeddings ? ", output layer tied" : ""}`,
    ],
    ["memory", `${formatBytes(plan.weightBytes)} of weights, ${formatBytes(plan.kvBytesPerToken)} of cache a token`],
    [
      "speed here",
      `about ${formatNumber(Math.round(speed.promptTokens))} tokens/s of a prompt, ${formatNumber(Math.round(speed.decodeTokens))} of an answer, on ${speed.threads} threads`,
    ],
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const text = [
    [path, ...facts.map(([name, fact]) => `  ${name.padEnd(width)}  ${fact}`)].join("\n"),
    table(
      ["Weights", "tensors", "size"],
      weights.map(({ type, tensors, bytes }) => [type, tensors, formatBytes(bytes)]),
    ),
    chatTemplate === undefined
      ? "No chat template: dialogues take the family's own form."
      : `Chat template\n${indent(chatTemplate)}`,
    ...(plan.refusal ? [`${plan.refusal.message} ${plan.refusal.hint}`] : []),
  ].join("\n\n");
  return { ...description, text };
}

interface Stored extends Pick<ModelDescription, "config" | "weights" | "chatTemplate"> {
  /** The GGUF file, where it is one. */
  file: string | undefined;
}

function readStored(path: string): Stored {
  const file = ggufFileOf(path);
  if (file !== undefined) {
    const gguf = openGguf(file);
    try {
      const template = gguf.metadata.get("tokenizer.chat_template");
      return {
        file,
        config: configFromGguf(gguf),
        weights: countTypes([...gguf.tensors.values()]),
        chatTemplate: template?.type === "string" ? template.value : undefined,
      };
    } finally {
      gguf.close();
    }
  }
  const source = openCheckpointTensors(path);
  try {
    const tensors = [...source.tensors.values()].map(({ dtype, begin, end }) => ({ type: dtype, begin, end }));
    return {
      file,
      config: readConfig(path),
      weights: countTypes(tensors),
      chatTemplate: readTokenizerConfig(path).templates.usual,
    };
  } finally {
    source.close();
  }
}

function countTypes(tensors: readonly { type: string; begin: number; end: number }[]): ModelDescription["weights"] {
  const counts = new Map<string, { type: string; tensors: number; bytes: number }>();
  for (const { type, begin, end } of tensors) {
    const count = counts.get(type) ?? { type, tensors: 0, bytes: 0 };
    count.tensors += 1;
    count.bytes += end - begin;
    counts.set(type, count);
  }
  return [...counts.values()].sort((left, right) => right.bytes - left.bytes);
}

const mostTemplateLines = 24;

function indent(text: string): string {
  const lines = withoutControls(text).split("\n");
  const more = lines.length - mostTemplateLines;
  return [...lines.slice(0, mostTemplateLines), ...(more > 0 ? [`... ${more} more lines`] : [])]
    .map((line) => `  ${line}`)
    .join("\n");
}
