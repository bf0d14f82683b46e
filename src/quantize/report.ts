// What quantization cost: the report as data, and as text for people.
import type { BlockType } from "../formats/blocks.ts";
import type { LayerScaling } from "./calibration/calibrate.ts";
import type { Quality } from "./compare.ts";

export interface TensorReport {
  /** In the GGUF file. */
  name: string;
  /** The checkpoint's tensor that holds these rows. */
  source: string;
  type: BlockType | "AWQ";
  shape: readonly number[];
  /** Root of the summed squares of what was lost, over that of the weights. */
  weightError: number;
  /** The same of the layer's outputs on held-out text; only for linear layers of the blocks, and where there was such text. */
  outputError?: number;
}

export interface QuantizeReport {
  scheme: string;
  parameters: number;
  /** Files of weights, in bytes. */
  bytesBefore: number;
  bytesAfter: number;
  /** Of tensor data in the file, norms and what stayed float included. */
  bitsPerWeight: number;
  tensors: TensorReport[];
  /** The linear layer that is off furthest: by its outputs where they were measured, else by its weights. */
  worst: TensorReport;
  /** Against the float model on held-out tokens, where there were any. */
  quality?: Quality;
  /** What was found on the calibration text, where one was given. */
  calibration?: { tokens: number; scalings: LayerScaling[] };
  /** Ways in which llama.cpp may treat texts otherwise, as sentences. */
  differences: readonly string[];
}

/** The layer with the largest error among those that have one. */
export function worstTensor(tensors: readonly TensorReport[]): TensorReport {
  const measured = tensors.filter(({ outputError }) => outputError !== undefined);
  const candidates = measured.length > 0 ? measured : tensors;
  const error = (tensor: TensorReport) => tensor.outputError ?? tensor.weightError;
  return candidates.reduce((worst, tensor) => (error(tensor) > error(worst) ? tensor : worst));
}

/** A page of text. */
export function formatReport(report: QuantizeReport): string {
  const { quality, worst } = report;
  const lines = [
    `Scheme       ${report.scheme}, ${report.bitsPerWeight.toFixed(2)} bits a weight, ${(report.parameters / 1e6).toFixed(2)} M parameters`,
    `Size         ${megabytes(report.bytesBefore)} -> ${megabytes(report.bytesAfter)} MB, ${(report.bytesBefore / report.bytesAfter).toFixed(2)} times smaller`,
  ];
  if (report.calibration) {
    const { tokens, scalings } = report.calibration;
    const scaled = scalings.filter(({ exponent }) => exponent !== undefined).length;
    const left = scalings.reduce((sum, { gain }) => sum + gain, 0) / Math.max(1, scalings.length);
    lines.push(
      `Calibration  ${tokens} tokens, ${scaled} of ${scalings.length} inputs scaled, ${(100 * left).toFixed(0)}% of their rounding error left`,
    );
  }
  if (quality) {
    const interval = quality.perplexityIncreaseInterval?.map(signed).join(" to ");
    lines.push(
      `Perplexity   ${quality.perplexityBefore.toFixed(3)} -> ${quality.perplexityAfter.toFixed(3)}, ${signed(quality.perplexityIncrease)}${interval === undefined ? "" : ` (95% ${interval})`}, ${quality.tokens} held-out tokens`,
      `KL           ${quality.klDivergence.toExponential(2)} nats a token from the float model`,
      `Agreement    ${(100 * quality.topAgreement).toFixed(2)}% of most likely tokens are the same`,
    );
  } else {
    lines.push("Perplexity   not measured: no held-out tokens were given");
  }
  lines.push(`Worst layer  ${worst.name}, ${describeErrors(worst)}`);
  lines.push(...report.differences.map((difference) => `Note         ${difference}`));
  lines.push("", "Root mean square errors, relative", "");
  const width = Math.max(...report.tensors.map(({ name }) => name.length));
  lines.push(`${"tensor".padEnd(width)}  type   weights  outputs`);
  for (const tensor of report.tensors) {
    if (tensor.shape.length === 1) continue;
    const output = tensor.outputError === undefined ? "" : percent(tensor.outputError);
    lines.push(
      `${tensor.name.padEnd(width)}  ${tensor.type.padEnd(5)} ${percent(tensor.weightError)} ${output.padStart(8)}`.trimEnd(),
    );
  }
  return `${lines.join("\n")}\n`;
}

function describeErrors({ weightError, outputError }: TensorReport): string {
  const weights = `weights off by ${percent(weightError).trim()}`;
  return outputError === undefined ? weights : `outputs off by ${percent(outputError).trim()}, ${weights}`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(3)}%`.padStart(8);
}

function signed(share: number): string {
  return `${share < 0 ? "-" : "+"}${(100 * Math.abs(share)).toFixed(2)}%`;
}
