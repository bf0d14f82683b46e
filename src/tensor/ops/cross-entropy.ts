// The output layer and its loss in one: logits exist for a chunk of rows at a time and are never whole.
// The gradient is taken while a chunk's logits are there, so the forward pass already does the backward's work.
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** Numbers of logits held at once: 4 MiB of float32. */
const chunkNumbers = 1 << 20;

/**
 * hidden [rows, dim], weight [vocab, dim], targets [rows] (negative: no loss) -> the loss of each row in `losses`, in nats.
 * The trained loss is gradientScale * sum(losses); with gradientScale 0 nothing is recorded.
 */
export function linearCrossEntropy(
  tape: Tape,
  hidden: Tensor,
  weight: Tensor,
  targets: Int32Array,
  gradientScale: number,
): Tensor {
  const { kernels } = tape;
  const rows = rowsOf(hidden);
  const dim = columnsOf(hidden);
  const vocab = rowsOf(weight);
  const losses = tape.take([rows], "losses");
  const train = gradientScale !== 0;
  const dhidden = train && hidden.requiresGrad ? tape.take(hidden.shape, "losses.dhidden") : undefined;
  const chunkRows = Math.min(rows, Math.max(16, Math.ceil(chunkNumbers / vocab)));
  const logits = tape.take([chunkRows, vocab], "logits");

  for (let begin = 0; begin < rows; begin += chunkRows) {
    const end = Math.min(rows, begin + chunkRows);
    const count = end - begin;
    const chunkTargets = targets.subarray(begin, end);
    const chunkLosses = losses.data.subarray(begin, end);
    const chunkHidden = hidden.data.subarray(begin * dim, end * dim);
    const chunkGradient = dhidden?.data.subarray(begin * dim, end * dim);
    if (chunkTargets.every((target) => target < 0)) {
      chunkLosses.fill(0);
      chunkGradient?.fill(0);
      continue;
    }
    const chunkLogits = logits.data.subarray(0, count * vocab);
    kernels.matmul(chunkLogits, chunkHidden, weight.data, count, vocab, dim, "nt", false);
    kernels.crossEntropy(chunkLosses, chunkLogits, chunkTargets, vocab, gradientScale);
    if (!train) continue;
    if (chunkGradient) kernels.matmul(chunkGradient, chunkLogits, weight.data, count, dim, vocab, "nn", false);
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.gradientOf(weight);
      kernels.matmul(grad, chunkLogits, chunkHidden, vocab, dim, count, "tn", accumulate);
    }
  }
  tape.give(logits);
  if (tape.recording && dhidden) {
    tape.record([losses], [logits, dhidden], () => {
      const { grad, accumulate } = tape.gradientOf(hidden);
      kernels.addScaled(grad, dhidden.data, 1, accumulate);
    });
  }
  return losses;
}
