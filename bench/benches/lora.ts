// LoRA (rank 16, every linear layer of the blocks, length 512) beside frozen weights: a 1.1 B Llama of TinyLlama's shape,
// stored in bf16, beside PyTorch, in float32 and with products in bfloat16; the same in NF4; and a step of a 7.7 B InternLM2
// under a hard limit of memory.
// Every subject is a process of its own, so that the most memory it held is its own too.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { measurePeak, precisionMissing, type Precision } from "../../src/kernels/index.ts";
import { defineBench, row, takeTurns } from "../harness.ts";
import { pythonWithTorch, startPeer, startPython, torchMissing, type PythonPeer } from "../python-peer.ts";

const length = 512;
const rank = 16;
const turns = 3;
/** PyTorch's threads spin for a while after a step; they must not spin into ours. */
const restMs = 500;

/**
 * Of the 1.1 B shape: 4 for a frozen weight of a product (forward, and back to its input), 6 for one of an adapter, and
 * causal attention, whose backward pass is twice its forward.
 */
const flopsPerToken = 4 * (1_100_048_384 - 32000 * 2048) + 6 * 12_615_680 + 6 * 22 * 2048 * length;

/**
 * Bytes of private memory that the process may ask for, touched or not, in whole KiB as the shell takes it. All of a
 * process's own memory counts (RLIMIT_DATA of Linux), but not its program's code.
 */
const limitBytes = 8e9;
const underLimit = `ulimit -d ${limitBytes / 1024} && exec "$0" "$@"`;

const script = join(import.meta.dirname, "../lora-step.ts");

interface Subject {
  shape: "1.1B" | "7.7B";
  base: "bf16" | "nf4";
  precision: Precision;
  /** The share of layers whose activations are made again. */
  checkpointing: number;
  limited?: boolean;
}

function lianlu(threads: number, { shape, base, precision, checkpointing, limited }: Subject): Promise<PythonPeer> {
  const args = [script, shape, base, ...[threads, length, rank, checkpointing].map(String), precision];
  return limited ? startPeer("bash", ["-c", underLimit, process.execPath, ...args]) : startPeer(process.execPath, args);
}

function pytorch(python: string, base: string, threads: number): Promise<PythonPeer> {
  const peer = join(import.meta.dirname, "../peers/lora_step.py");
  return startPython(python, peer, ["1.1B", base, ...[threads, length, rank].map(String)]);
}

async function memoryOf(subject: PythonPeer): Promise<number> {
  return Number(await subject.ask("memory")) / 1e6;
}

/** The medians of the subjects' steps in milliseconds, by turns. */
function steps(subjects: readonly PythonPeer[], count: number): Promise<number[]> {
  const subject = (peer: PythonPeer) => async () => {
    const ms = Number(await peer.ask("step"));
    await sleep(restMs);
    return ms;
  };
  return takeTurns(subjects.map(subject), count);
}

const tokensPerSecond = (ms: number) => (length * 1000) / ms;

export default defineBench({
  async *rows({ threads, wants, note }) {
    const count = Math.max(...threads);
    const python = pythonWithTorch();
    if (python === undefined) note(torchMissing);
    // PyTorch has no kind that is reduced in the backward pass alone.
    for (const precision of ["f32", "bf16"] as const) {
      const name = `lora 1.1B ${precision}`;
      if (!wants(name) && !wants(`${name} memory`)) continue;
      const missing = precisionMissing(precision);
      if (missing !== undefined) {
        note(`No row of ${precision}: ${missing}.`);
        continue;
      }
      const own = await lianlu(count, { shape: "1.1B", base: "bf16", precision, checkpointing: 0 });
      // PyTorch multiplies in the type of the weights: it holds the same numbers as floats, or as bf16.
      const other = python === undefined ? undefined : await pytorch(python, precision, count);
      const [ms, otherMs] = await steps(other ? [own, other] : [own], turns);
      const peer = other ? `PyTorch ${precision}` : null;
      yield row(name, count, tokensPerSecond(ms!), "tokens/s", {
        peer,
        peerValue: otherMs === undefined ? null : tokensPerSecond(otherMs),
        limit: (measurePeak(precision, count) * 1e9) / flopsPerToken,
      });
      yield row(`${name} memory`, count, await memoryOf(own), "MB", {
        peer,
        peerValue: other ? await memoryOf(other) : null,
      });
      own.close();
      other?.close();
    }
    if (wants("qlora 1.1B nf4") || wants("qlora 1.1B nf4 memory")) {
      const own = await lianlu(count, { shape: "1.1B", base: "nf4", precision: "f32", checkpointing: 1 });
      const [ms] = await steps([own], turns);
      yield row("qlora 1.1B nf4", count, tokensPerSecond(ms!), "tokens/s", {
        limit: (measurePeak("f32", count) * 1e9) / flopsPerToken,
      });
      yield row("qlora 1.1B nf4 memory", count, await memoryOf(own), "MB");
      own.close();
    }
    if (wants("qlora 7.7B nf4 step") || wants("qlora 7.7B nf4 memory")) {
      note(
        `The 7.7 B step runs under \`ulimit -d ${limitBytes / 1024}\`: ${limitBytes / 1e9} GB, no byte of which it may exceed.`,
      );
      const own = await lianlu(count, {
        shape: "7.7B",
        base: "nf4",
        precision: "f32",
        checkpointing: 1,
        limited: true,
      });
      const [ms] = await steps([own], 1);
      yield row("qlora 7.7B nf4 step", count, ms! / 1000, "s");
      yield row("qlora 7.7B nf4 memory", count, await memoryOf(own), "MB");
      own.close();
    }
  },
});
