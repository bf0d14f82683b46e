// The output layer and its loss in one: logits exist for a chunk of rows at a time and are never whole.
// The gradient is taken while a chunk's logits are there, so the forward pass already does the backward's work.
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** Numbers of logits held at once: 4 MiB of float32. */
const chunkNumbers = 1 << 20;

/** One product of the sum that makes the logits: x [rows, dim] times weight [vocab, dim] transposed. */
export interface LogitTerm {
  x: Tensor;
  weight: Tensor;
}

/**
 * Logits are the sum of `terms` (one for a dense output layer, a second for LoRA beside it); targets [rows] (negative:
 * no loss) -> the loss of each row, in nats. The trained loss is gradientScale * sum(losses); with gradientScale 0
 * nothing is recorded.
 */
export function linearCrossEntropy(
  tape: Tape,
  terms: readonly LogitTerm[],
  targets: Int32Array,
  gradientScale: number,
): Tensor {
  const { kernels } = tape;
  const rows = targets.length;
  const vocab = rowsOf(terms[0]!.weight);
  const losses = tape.take([rows], "losses");
  const train = gradientScale !== 0;
  const gradients = terms.map(({ x }) => (train && x.requiresGrad ? tape.take(x.shape, "losses.gradient") : undefined));
  const chunkRows = Math.min(rows, Math.max(16, Math.ceil(chunkNumbers / vocab)));
  const logits = tape.take([chunkRows, vocab], "logits");

  for (let begin = 0; begin < rows; begin += chunkRows) {
    const end = Math.min(rows, begin + chunkRows);
    const count = end - begin;
    const chunkOf = ({ data, shape }: Tensor) => data.subarray(begin * shape[1]!, end * shape[1]!);
    const chunkTargets = targets.subarray(begin, end);
    const chunkLosses = losses.data.subarray(begin, end);
    if (chunkTargets.every((target) => target < 0)) {
      chunkLosses.fill(0);
      for (const gradient of gradients) if (gradient) chunkOf(gradient).fill(0);
      continue;
    }
    const chunkLogits = logits.data.subarray(0, count * vocab);
    for (const [index, { x, weight }] of terms.entries()) {
      kernels.matmul(chunkLogits, chunkOf(x), weight.data, count, vocab, columnsOf(x), "nt", index > 0);
    }
    kernels.crossEntropy(chunkLosses, chunkLogits, chunkTargets, vocab, gradientScale);
    if (!train) continue;
    for (const [index, { x, weight }] of terms.entries()) {
      const gradient = gradients[index];
      const dim = columnsOf(x);
      if (gradient) kernels.matmul(chunkOf(gradient), chunkLogits, weight.data, count, dim, vocab, "nn", false);
      if (weight.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(weight);
        kernels.matmul(grad, chunkLogits, chunkOf(x), vocab, dim, count, "tn", accumulate);
      }
    }
  }
  tape.give(logits);
  const scratch = gradients.filter((gradient) => gradient !== undefined);
  if (tape.recording && scratch.length > 0) {
    tape.record([losses], [logits, ...scratch], () => {
      for (const [index, { x }] of terms.entries()) {
        const gradient = gradients[index];
        if (!gradient) continue;
        const { grad, accumulate } = tape.gradientOf(x);
        kernels.addScaled(grad, gradient.data, 1, accumulate);
      }
    });
  }
  return losses;
}
