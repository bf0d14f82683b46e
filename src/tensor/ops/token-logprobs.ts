// Log-probabilities of given tokens, with gradients that may differ from row to row; logits are never whole.
// Unlike the cross-entropy's, a row's gradient is known only after every row's value is (a loss of a pair needs both sums),
// so the backward pass computes the logits again, a chunk of rows at a time.
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";
import { isTrained, logitRows, logitsBackward, logitsOf, vocabOf, type LogitTerm } from "./logits.ts";

/**
 * Logits are the sum of `terms`; targets [rows], each an id -> log softmax(logits)[target] of each row [rows], in nats.
 * Rows without a target are left out before, see `embedding` of row numbers.
 */
export function tokenLogprobs(tape: Tape, terms: readonly LogitTerm[], targets: Int32Array): Tensor {
  const { kernels } = tape;
  const rows = targets.length;
  const vocab = vocabOf(terms);
  const chunkRows = logitRows(rows, vocab);
  const logprobs = tape.take([rows], "logprobs");
  const { data } = logprobs;

  const logits = tape.take([chunkRows, vocab], "logits");
  for (let begin = 0; begin < rows; begin += chunkRows) {
    const end = Math.min(rows, begin + chunkRows);
    const chunk = logits.data.subarray(0, (end - begin) * vocab);
    logitsOf(kernels, chunk, terms, begin, end);
    kernels.crossEntropy(data.subarray(begin, end), chunk, targets.subarray(begin, end), vocab, 0);
  }
  for (let row = 0; row < rows; row++) data[row] = -data[row]!;
  tape.give(logits);

  const trained = terms.some(isTrained);
  if (!tape.recording || !trained) return logprobs;
  const gradients = terms.map(({ x }) => (x.requiresGrad ? tape.take(x.shape, "logprobs.gradient") : undefined));
  const losses = tape.take([chunkRows], "logprobs.losses");
  const scratch = [logits, losses, ...gradients.filter((gradient) => gradient !== undefined)];
  tape.record([logprobs], scratch, () => {
    const coefficients = logprobs.grad!;
    for (let begin = 0; begin < rows; begin += chunkRows) {
      const end = Math.min(rows, begin + chunkRows);
      const chunk = logits.data.subarray(0, (end - begin) * vocab);
      logitsOf(kernels, chunk, terms, begin, end);
      // A run of rows with one gradient (a sequence's, mostly) is one call of the kernel, which has one scale for all.
      for (let first = begin; first < end;) {
        const coefficient = coefficients[first]!;
        let past = first + 1;
        while (past < end && coefficients[past] === coefficient) past++;
        const run = chunk.subarray((first - begin) * vocab, (past - begin) * vocab);
        if (coefficient === 0) run.fill(0);
        else
          kernels.crossEntropy(
            losses.data.subarray(0, past - first),
            run,
            targets.subarray(first, past),
            vocab,
            -coefficient,
          );
        first = past;
      }
      logitsBackward(tape, chunk, terms, gradients, begin, end);
    }
    for (const [index, { x }] of terms.entries()) {
      const gradient = gradients[index];
      if (!gradient) continue;
      const { grad, accumulate } = tape.gradientOf(x);
      kernels.addScaled(grad, gradient.data, 1, accumulate);
    }
  });
  return logprobs;
}
