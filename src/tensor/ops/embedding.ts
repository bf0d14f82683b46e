// Rows of a table, by id.
import { columnsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** table [vocab, dim], ids [rows] -> [rows, dim]. */
export function embedding(tape: Tape, table: Tensor, ids: Int32Array): Tensor {
  const dim = columnsOf(table);
  const y = tape.take([ids.length, dim], "embedding");
  tape.kernels.embedding(y.data, table.data, ids, dim);

  if (tape.recording && table.requiresGrad) {
    tape.record([y], [], () => {
      const { grad, accumulate } = tape.gradientOf(table);
      if (!accumulate) grad.fill(0);
      tape.kernels.embeddingBackward(grad, y.grad!, ids, dim);
    });
  }
  return y;
}
