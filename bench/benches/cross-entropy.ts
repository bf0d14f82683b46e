// The output layer and loss of InternLM2's vocabulary (92,544 words, width 2048, 2048 rows): what a pass forward and back
// takes in memory besides the layer and its gradient, and how fast it is. Whole logits would take 758 MB.
import { loadKernels, measurePeak, setThreads, type Kernels } from "../../src/kernels/index.ts";
import { createTape, linearCrossEntropy, tensor } from "../../src/tensor/index.ts";
import { defineBench, milliseconds, residentBytes, row } from "../harness.ts";

const [rows, vocab, dim] = [2048, 92_544, 2048];
const turns = 2;

export default defineBench({
  async *rows({ threads, wants }) {
    const names = ["cross-entropy extra memory", "cross-entropy"];
    if (!names.some(wants)) return;
    const pass = createPass(loadKernels());
    for (const [index, count] of threads.entries()) {
      setThreads(count);
      const before = residentBytes();
      pass();
      const extra = residentBytes() - before;
      // Once: later passes find the memory that the first one left behind.
      if (index === 0 && wants(names[0]!)) yield row(names[0]!, count, extra / 1e6, "MB");
      if (!wants(names[1]!)) continue;
      const ms = Math.min(...Array.from({ length: turns }, () => milliseconds(pass)));
      const flopsPerRow = 6 * vocab * dim;
      yield row(names[1]!, count, (rows * 1000) / ms, "tokens/s", {
        limit: (measurePeak("f32", count) * 1e9) / flopsPerRow,
      });
    }
  },
});

/** Forward and back, with the layer trained. All that is not extra is there, and touched, before. */
function createPass(kernels: Kernels): () => void {
  const weight = tensor(kernels.allocate(vocab * dim), [vocab, dim], "head", true);
  for (let i = 0; i < weight.data.length; i++) weight.data[i] = ((i % 101) - 50) / 1000;
  weight.grad = kernels.allocate(vocab * dim);
  weight.grad.fill(0);
  const targets = Int32Array.from({ length: rows }, (_, index) => (index * 37) % vocab);
  const tape = createTape(kernels, { recording: true });
  const x = tensor(kernels.allocate(rows * dim), [rows, dim], "hidden", true);
  for (let i = 0; i < x.data.length; i++) x.data[i] = ((i % 89) - 44) / 100;
  return () => {
    weight.hasGrad = false;
    x.grad = undefined;
    x.hasGrad = false;
    linearCrossEntropy(tape, [{ x, weight }], targets, 1 / rows);
    tape.backward();
    tape.reset();
  };
}
