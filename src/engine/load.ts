// From a path to a model that answers: a checkpoint, a quantized directory, a .gguf file or a .bin file of llama2.c.
// What it will take of memory is reckoned and said before the cache is made.
import { basename, resolve } from "node:path";
import { loadKernels, pageTokens, setThreads, type Kernels, type KvType } from "../kernels/index.ts";
import { loadAdapter, loadCheckpoint } from "../model/index.ts";
import { Failure, type ServedModel } from "../protocol/index.ts";
import { loadTokenizer, tokenizerOf, type Tokenizer } from "../tokenizer/index.ts";
import { createAdapterRegistry } from "./adapters.ts";
import { draftModel } from "./draft-model.ts";
import { createEngine } from "./engine.ts";
import { checkPlan, formatBytes, planModel } from "./plan.ts";
import { createRunner } from "./runner.ts";
import { promptLookup, type Speculator } from "./speculation.ts";
import { loadInWorker } from "./worker.ts";

export interface LoadOptions {
  /** A PEFT adapter directory, put beside the model's layers. */
  adapter?: string;
  /** A tokenizer's directory or file. Default: the one beside the model. */
  tokenizer?: string;
  /** The model's name. Default: the last part of the path. */
  id?: string;
  /** Threads of the native kernels. Default LIANLU_THREADS, or all cores. */
  threads?: number;
  /** Longest prompt plus completion, in tokens. Default: what the model was made for, as far as memory allows. */
  maxContext?: number;
  /** Numbers of the key-value cache. Default "f16". */
  kvCache?: KvType;
  /** Whether keys and values are kept and shared between requests that begin alike. Default true. */
  prefixCache?: boolean;
  /** Guesses of the next tokens, which change no answer: from the text so far, or from a smaller model. Default "none". */
  speculation?: "none" | "prompt-lookup" | { draft: string };
  /** Requests that run at once; others wait. Default 64. */
  maxSequences?: number;
  kernels?: Kernels["name"];
  /** Runs the model in a thread of its own, so that this one's event loop stays alive. Default false. */
  worker?: boolean;
  /** Told what the model takes of memory, in one sentence. */
  onNote?: (text: string) => void;
  /** Told when the model's thread ends without having been closed: the model is lost. */
  onCrash?: (error: Error) => void;
}

/** Models pad their vocabulary to a round number; by more than this it is another model's. */
const maxPaddedIds = 1024;

/**
 * Loads a model for inference.
 * Throws Failure("input") for a checkpoint, adapter or tokenizer that is broken or does not fit, Failure("usage") for
 * options that cannot be met, Failure("environment") where the native core is not built.
 */
export async function load(path: string, options: LoadOptions = {}): Promise<ServedModel> {
  if (options.worker) return loadInWorker(path, options);
  if (options.threads !== undefined) setThreads(options.threads);
  const { kvCache = "f16", prefixCache, speculation = "none", maxSequences, maxContext } = options;
  const plan = planModel(path, {
    kvCache,
    ...(options.kernels && { kernels: options.kernels }),
    ...(maxContext !== undefined && { maxContext }),
    ...(typeof speculation === "object" && { draft: speculation.draft }),
  });
  checkPlan(plan);
  const kernels = loadKernels(options.kernels);
  const decoder = loadCheckpoint(path, kernels, { inference: true });
  const { config } = decoder;
  const tokenizer = options.tokenizer === undefined ? tokenizerOf(path) : loadTokenizer(options.tokenizer);
  checkTokenizer(tokenizer, config.vocabSize, path);
  if (options.adapter !== undefined) {
    loadAdapter(kernels, decoder, options.adapter, () => loadCheckpoint(path, kernels, { frozen: "stored" }));
  }
  const adapters = createAdapterRegistry(kernels, decoder);
  const { pages } = plan;
  const speculator =
    typeof speculation === "object"
      ? openDraft(speculation.draft, kernels, tokenizer, pages, kvCache)
      : speculation === "prompt-lookup"
        ? promptLookup()
        : undefined;
  options.onNote?.(
    `${plan.name}: weights ${formatBytes(plan.weightBytes)}, cache ${formatBytes(plan.cacheBytes)} ` +
      `(${kvCache}, ${formatBytes(plan.kvBytesPerToken)} a token, ${pages * pageTokens} tokens), ` +
      `context ${plan.context} of ${plan.modelContext}.`,
  );
  return createEngine({
    id: options.id ?? basename(resolve(path)),
    runner: createRunner(kernels, decoder, pages, { kvCache, adapters }),
    adapters,
    weightBytes: plan.weightBytes,
    tokenizer,
    maxPositions: plan.context,
    // A dialogue without a limit must not plan for so long a sequence that its rotation changes.
    usualPositions: config.maxPositions,
    ...(prefixCache !== undefined && { prefixCache }),
    ...(maxSequences !== undefined && { maxSequences }),
    ...(speculator && { speculator }),
  });
}

/** Throws Failure("input") for a draft model whose tokens are others. */
function openDraft(path: string, kernels: Kernels, tokenizer: Tokenizer, pages: number, kvCache: KvType): Speculator {
  const decoder = loadCheckpoint(path, kernels, { inference: true });
  const { vocabSize, maxPositions } = decoder.config;
  if (tokenizerOf(path).id !== tokenizer.id) {
    throw new Failure(
      "input",
      `${path}: the draft model's tokens are not those of the model, so its guesses mean nothing to it.`,
      "Use a smaller model with the same tokenizer.",
    );
  }
  checkTokenizer(tokenizer, vocabSize, path);
  return draftModel(createRunner(kernels, decoder, pages, { kvCache }), maxPositions, tokenizer.vocabSize);
}

function checkTokenizer(tokenizer: Tokenizer, vocabSize: number, path: string): void {
  const { vocabSize: ids } = tokenizer;
  if (ids <= vocabSize && vocabSize - ids <= maxPaddedIds) return;
  throw new Failure(
    "input",
    `${path}: the tokenizer has ${ids} ids and the model ${vocabSize}, so they do not belong together.`,
    "Restore the tokenizer that the checkpoint was trained with.",
  );
}
