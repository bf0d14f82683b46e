// The tape: runs operations as they are called, remembers how to go back, and owns the memory between.
// Buffers are kept and used again, so a step like the one before allocates no numbers at all. While recording they are
// kept by length; else, where steps differ in their rows, by rounded length, and a tensor has the beginning of one.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { sizeOf, tensor, type Tensor } from "./tensor.ts";

/** What the operations of one pass share besides tensors. Whoever runs the pass sets it before. */
export interface Pass {
  /** From which random masks are drawn (a step and its batch give one number); undefined: nothing is dropped out. */
  randomKey: number | undefined;
  /**
   * What a loss of the model's own (balancing experts), which is a mean over the batch, counts for in the gradient before
   * its coefficient: the pass's gradient scale times the batch's weight, so that with accumulation it is averaged as the
   * trained loss is. 0: no such loss is computed.
   */
  auxiliaryScale: number;
  /** Where `auxiliaryScale` is not 0 those losses are added here, without scale and coefficient. */
  auxiliaryLoss: number;
  /** Where a layer is given some of the batch's rows (an expert): which, ascending. Undefined: it is given all. */
  rows: Int32Array | undefined;
  /** Told of layers as passes go through them; undefined: nobody is. */
  watch?: LayerWatch | undefined;
}

/** Who wants to know when the gradients of a layer are final, while the backward pass goes on below it. */
export interface LayerWatch {
  /** The forward pass comes to a layer. */
  enter(layer: number): void;
  /** The backward pass has written every gradient of the layer that this pass gives. */
  leave(layer: number): void;
}

export interface Tape extends Disposable {
  readonly kernels: Kernels;
  readonly pass: Pass;
  /** Whether gradients will be asked for. If not, buffers return to the pool as soon as they are given back. */
  readonly recording: boolean;
  /** A tensor with whatever numbers its buffer held before. */
  take(shape: readonly number[], name: string): Tensor;
  /** Says that the forward pass needs these no more. While recording they live on for the backward pass. */
  give(...tensors: readonly Tensor[]): void;
  /**
   * Remembers one operation. `backward` reads the gradients of `outputs` and adds to those of its inputs;
   * afterwards the outputs, their gradients and `scratch` return to the pool.
   */
  record(outputs: readonly Tensor[], scratch: readonly Tensor[], backward: () => void): void;
  /**
   * Runs a part of the forward pass of which only the result is kept; the backward pass runs it again (activation
   * checkpointing; Chen et al., arXiv 1604.06174). Gradients are equal to the bit to those of a part that was kept.
   * `run` must do the same both times, leave its inputs as they are, and take no gradients in the forward pass; what it
   * adds to `pass.auxiliaryLoss` counts once. A part within a part, or of a tape that does not record, is just run.
   */
  checkpoint(run: () => Tensor): Tensor;
  /**
   * Runs a part whose sizes differ from pass to pass (rows of an expert): its buffers, and those of its gradients, are
   * kept by rounded length, so that passes share the memory of a few.
   */
  varying<Result>(run: () => Result): Result;
  /** Where a gradient of `x` goes, and whether to add to what is there. */
  gradientOf(x: Tensor): { grad: Floats; accumulate: boolean };
  /** Hands `from`'s gradient buffer to `to` where `to` has none yet, else adds it. `from` has none afterwards. */
  passGradient(from: Tensor, to: Tensor): void;
  /** Runs what was recorded, last first, and forgets it. */
  backward(): void;
  /** Forgets what was recorded and takes every buffer back. */
  reset(): void;
  /** Bytes of all buffers, in use or waiting: it does not grow after the first step. */
  readonly bytes: number;
}

interface Entry {
  outputs: readonly Tensor[];
  scratch: readonly Tensor[];
  backward: () => void;
}

/** Memory, and the part of it that a tensor has or had last. */
interface Block {
  whole: Floats;
  part: Floats;
}

/** The next of four steps to the next power of two. */
function roundedLength(length: number): number {
  const step = 2 ** Math.max(4, Math.floor(Math.log2(Math.max(length, 1))) - 2);
  return Math.ceil(length / step) * step;
}

export function createTape(kernels: Kernels, options: { recording: boolean }): Tape {
  const free = new Map<number, Block[]>();
  const inUse = new Map<Floats, Block>();
  let entries: Entry[] = [];
  /** Within a checkpointed part: every buffer that it took. */
  let taken: Floats[] | undefined;
  let bytes = 0;

  let rounding = !options.recording;
  function takeBuffer(length: number, rounded = rounding): Floats {
    const size = rounded ? roundedLength(length) : length;
    let block = free.get(size)?.pop();
    if (block === undefined) {
      const whole = kernels.allocate(size);
      block = { whole, part: whole };
      bytes += whole.byteLength;
    }
    if (block.part.length !== length) block.part = block.whole.subarray(0, length);
    inUse.set(block.part, block);
    taken?.push(block.part);
    return block.part;
  }

  function giveBuffer(buffer: Floats): void {
    const block = inUse.get(buffer);
    // What the pool does not know (a parameter's numbers, a buffer given already) is left alone.
    if (block === undefined) return;
    inUse.delete(buffer);
    const waiting = free.get(block.whole.length);
    if (waiting) waiting.push(block);
    else free.set(block.whole.length, [block]);
  }

  /** Runs a part with entries of its own; `took` are the buffers in which they and the result live. */
  function runApart(run: () => Tensor): { result: Tensor; own: Entry[]; took: Floats[] } {
    const others = entries;
    const own: Entry[] = [];
    const took: Floats[] = [];
    entries = own;
    taken = took;
    try {
      return { result: run(), own, took };
    } finally {
      entries = others;
      taken = undefined;
    }
  }

  function runBackward(recorded: readonly Entry[]): void {
    for (let i = recorded.length - 1; i >= 0; i--) {
      const { outputs, scratch, backward } = recorded[i]!;
      backward();
      for (const output of outputs) {
        if (output.grad) giveBuffer(output.grad);
        output.grad = undefined;
        output.hasGrad = false;
        giveBuffer(output.data);
      }
      for (const { data } of scratch) giveBuffer(data);
    }
  }

  /** Back through a checkpointed part, from the gradient of the result that it had the first time. */
  function backwardAgain(run: () => Tensor, first: Tensor, randomKey: number | undefined): void {
    const { pass } = tape;
    const { grad, hasGrad } = first;
    first.grad = undefined;
    first.hasGrad = false;
    // Whatever read the first result has gone back already.
    giveBuffer(first.data);
    const { auxiliaryLoss, randomKey: laterKey } = pass;
    pass.randomKey = randomKey;
    const { result, own, took } = runApart(run);
    pass.randomKey = laterKey;
    pass.auxiliaryLoss = auxiliaryLoss;
    result.grad = grad;
    result.hasGrad = hasGrad;
    // Told apart before going back, when a buffer given may be taken again.
    const owned = new Set(own.flatMap(({ outputs, scratch }) => [...outputs, ...scratch].map(({ data }) => data)));
    runBackward(own);
    for (const buffer of took) if (!owned.has(buffer)) giveBuffer(buffer);
  }

  const tape: Tape = {
    kernels,
    pass: { randomKey: undefined, auxiliaryScale: 0, auxiliaryLoss: 0, rows: undefined },
    recording: options.recording,
    get bytes() {
      return bytes;
    },
    take(shape, name) {
      return tensor(takeBuffer(sizeOf(shape)), shape, name);
    },
    give(...tensors) {
      if (options.recording) return;
      for (const { data } of tensors) giveBuffer(data);
    },
    record(outputs, scratch, backward) {
      for (const output of outputs) output.requiresGrad = true;
      entries.push({ outputs, scratch, backward });
    },
    gradientOf(x) {
      const accumulate = x.hasGrad;
      const block = inUse.get(x.data);
      x.grad ??= takeBuffer(x.data.length, rounding || block?.whole.length !== block?.part.length);
      x.hasGrad = true;
      return { grad: x.grad, accumulate };
    },
    passGradient(from, to) {
      const grad = from.grad!;
      from.grad = undefined;
      from.hasGrad = false;
      if (to.grad === undefined) {
        to.grad = grad;
        to.hasGrad = true;
        return;
      }
      const target = tape.gradientOf(to);
      kernels.addScaled(target.grad, grad, 1, target.accumulate);
      giveBuffer(grad);
    },
    checkpoint(run) {
      if (!options.recording || taken) return run();
      const { randomKey } = tape.pass;
      const { result, own, took } = runApart(run);
      for (const buffer of took) if (buffer !== result.data) giveBuffer(buffer);
      if (own.length > 0) tape.record([], [], () => backwardAgain(run, result, randomKey));
      return result;
    },
    varying(run) {
      const before = rounding;
      rounding = true;
      try {
        return run();
      } finally {
        rounding = before;
      }
    },
    backward() {
      const recorded = entries;
      entries = [];
      runBackward(recorded);
    },
    reset() {
      entries = [];
      for (const buffer of inUse.keys()) giveBuffer(buffer);
    },
    [Symbol.dispose]() {
      tape.reset();
      free.clear();
      bytes = 0;
    },
  };
  return tape;
}
