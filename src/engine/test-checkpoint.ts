// For tests alone: a tiny checkpoint on disk, of InternLM2 unless another is asked for.
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, saveCheckpoint, type DecoderConfig } from "../model/index.ts";
import { runJob } from "../protocol/index.ts";
import { loadTokenizer, saveTokenizer, trainBpe } from "../tokenizer/index.ts";

/** A checkpoint of random weights with a tokenizer of its own, in a directory that exists. */
export async function writeTestCheckpoint(directory: string, changes: Partial<DecoderConfig> = {}): Promise<void> {
  async function* texts(): AsyncGenerator<string> {
    for (let count = 0; count < 4; count++)
      yield "床前明月光，疑是地上霜。 the quick brown fox jumps over the lazy dog";
  }
  saveTokenizer(directory, await runJob(trainBpe(texts(), { vocabSize: 320 })));
  const tokenizer = loadTokenizer(directory);
  const config: DecoderConfig = {
    family: "internlm2",
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 32,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    intermediateSize: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    maxPositions: 512,
    tieEmbeddings: false,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.3,
    ...changes,
  };
  const decoder = initializeDecoder(loadKernels(), config, 5);
  saveCheckpoint(directory, decoder, directory);
}
