// Causal attention of packed documents, forward and backward, without the T x T matrix
// (the online softmax of Milakov and Gimelshein; the tiling of FlashAttention, arXiv 2205.14135).
import type { HeadLayout } from "../../kernels/kernels.ts";
import { rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/**
 * q, k, v in `layout` (one fused tensor may be all three); starts [rows]: the first row each row sees, of which it sees
 * the last `window` (0: all) -> [rows, heads * headDim].
 */
export function attention(
  tape: Tape,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  starts: Int32Array,
  layout: HeadLayout,
  window = 0,
): Tensor {
  const rows = rowsOf(q);
  const out = tape.take([rows, layout.heads * layout.headDim], "attention");
  const lse = tape.take([rows, layout.heads], "attention.lse");
  tape.kernels.attention(out.data, lse.data, q.data, k.data, v.data, starts, layout, window);

  if (tape.recording && (q.requiresGrad || k.requiresGrad || v.requiresGrad)) {
    tape.record([out], [lse], () => {
      // Nothing else uses q, k or v, so their gradients are overwritten as a whole.
      const dq = tape.gradientOf(q).grad;
      const dk = tape.gradientOf(k).grad;
      const dv = tape.gradientOf(v).grad;
      tape.kernels.attentionBackward(
        dq,
        dk,
        dv,
        out.grad!,
        out.data,
        lse.data,
        q.data,
        k.data,
        v.data,
        starts,
        layout,
        window,
      );
    });
  } else {
    tape.give(lse);
  }
  return out;
}
