// The output layer and its loss in one: logits exist for a chunk of rows at a time and are never whole.
// The gradient is taken while a chunk's logits are there, so the forward pass already does the backward's work.
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";
import { logitRows, logitsBackward, logitsOf, rowsBetween, vocabOf, type LogitTerm } from "./logits.ts";

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
  const vocab = vocabOf(terms);
  const losses = tape.take([rows], "losses");
  const train = gradientScale !== 0;
  const gradients = terms.map(({ x }) => (train && x.requiresGrad ? tape.take(x.shape, "losses.gradient") : undefined));
  const chunkRows = logitRows(rows, vocab);
  const logits = tape.take([chunkRows, vocab], "logits");

  for (let begin = 0; begin < rows; begin += chunkRows) {
    const end = Math.min(rows, begin + chunkRows);
    const chunkTargets = targets.subarray(begin, end);
    const chunkLosses = losses.data.subarray(begin, end);
    if (chunkTargets.every((target) => target < 0)) {
      chunkLosses.fill(0);
      for (const gradient of gradients) if (gradient) rowsBetween(gradient, begin, end).fill(0);
      continue;
    }
    const chunkLogits = logits.data.subarray(0, (end - begin) * vocab);
    logitsOf(kernels, chunkLogits, terms, begin, end);
    kernels.crossEntropy(chunkLosses, chunkLogits, chunkTargets, vocab, gradientScale);
    if (train) logitsBackward(tape, chunkLogits, terms, gradients, begin, end);
  }
  tape.give(logits);
  if (tape.recording && gradients.some((gradient) => gradient !== undefined)) {
    tape.record([losses], [logits], () => {
      for (const [index, { x }] of terms.entries()) {
        const gradient = gradients[index];
        if (!gradient) continue;
        // What was taken in the forward pass is the gradient already: its buffer is handed on.
        gradient.grad = gradient.data;
        tape.passGradient(gradient, x);
      }
    });
  }
  return losses;
}
