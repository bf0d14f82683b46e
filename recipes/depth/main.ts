// node recipes/depth/main.ts --tokens DIR [--depths 2,3,4,6] [--rates 2e-3,4e-3,8e-3,16e-3] [--batches 1024] [--train 120000]
// Short runs from which the rules of --depth were fitted: the validation loss of each depth by learning rate and by tokens a
// step, all after the same number of tokens.
import { parseArgs } from "node:util";
import { loadKernels } from "../../src/kernels/index.ts";
import { countParameters, initializeDecoder, makeTrainable, namedTensors } from "../../src/model/index.ts";
import { Failure } from "../../src/protocol/index.ts";
import { createTape } from "../../src/tensor/index.ts";
import { settingsOfDepth } from "../../src/train/depth.ts";
import { createOptimizer } from "../../src/train/optimizer.ts";
import { pretrainDefaults } from "../../src/train/pretrain.ts";
import { learningRateAt, scheduleOver } from "../../src/train/schedule.ts";
import { createMixSampler } from "../../src/train/sources/mix.ts";
import { openSources, trainingMix } from "../../src/train/sources/open.ts";
import { watchedBatches } from "../../src/train/sources/validation.ts";
import { freshConfig } from "../../src/train/starting-model.ts";
import { meanLoss, runBatch } from "../../src/train/step.ts";

const { values } = parseArgs({
  options: {
    tokens: { type: "string" },
    depths: { type: "string", default: "2,3,4,6" },
    rates: { type: "string", default: "2e-3,4e-3,8e-3,16e-3" },
    batches: { type: "string", default: "1024" },
    train: { type: "string", default: "120000" },
  },
});
if (values.tokens === undefined) {
  throw new Failure("usage", "--tokens is needed: a directory that `lianlu tokenize` wrote.");
}
const numbers = (text: string): number[] => text.split(",").map(Number);
const kernels = loadKernels();
using sources = openSources([{ name: "tokens", tokens: values.tokens }]);

console.log("depth  hidden  parameters  tokens a step  steps  rate     validation loss");
for (const depth of numbers(values.depths)) {
  for (const batchTokens of numbers(values.batches)) {
    for (const rate of numbers(values.rates)) console.log(measure(depth, batchTokens, rate));
  }
}

function measure(depth: number, batchTokens: number, rate: number): string {
  const { model, length } = settingsOfDepth(depth);
  const config = freshConfig(model, sources.tokenizer, length);
  const decoder = initializeDecoder(kernels, config, pretrainDefaults.seed);
  const trained = [...namedTensors(decoder).values()];
  makeTrainable(kernels, trained);
  const optimizer = createOptimizer(kernels, decoder, trained, pretrainDefaults.optimizer);
  using tape = createTape(kernels, { recording: true });
  const steps = Math.floor(Number(values.train) / batchTokens);
  const schedule = scheduleOver(steps, { ...pretrainDefaults.schedule, peak: rate, warmupShare: 0.05 });
  const options = { rows: batchTokens, lengthAt: () => length, seed: 1, padId: config.padTokenId };
  const sampler = createMixSampler(trainingMix(sources), options);
  for (let step = 0; step < steps; step++) {
    runBatch(tape, decoder, sampler.next(), 1 / batchTokens);
    optimizer.step(step + 1, learningRateAt(step, schedule));
  }
  const validation = watchedBatches(sources.list, { ...options, rows: 1024 }, 16);
  const loss = meanLoss(tape, decoder, validation);
  const cells = [depth, config.hiddenSize, countParameters(config), batchTokens, steps];
  const widths = [5, 8, 12, 15, 7];
  const left = cells.map((cell, index) => String(cell).padStart(widths[index]!)).join("");
  return `${left}  ${rate.toExponential(1).padEnd(8)} ${loss.toFixed(3)}`;
}
