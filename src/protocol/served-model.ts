// What a server needs of a model beyond protocol's LanguageModel: its tokens, embeddings, adapters and figures.
// Implemented by engine/, in process and over a thread.
import type { GenerateRequest, LanguageModel } from "./language-model.ts";

export interface EmbedOptions {
  /** The mean of the hidden states, or the last one. Default "last". */
  pooling?: "mean" | "last";
  adapter?: string;
  signal?: AbortSignal;
}

export interface Embeddings {
  /** One vector [hidden] a text, of length 1. */
  vectors: readonly Float32Array[];
  promptTokens: number;
}

/** Figures of a running engine; counters count from its start. */
export interface EngineStatistics {
  running: number;
  waiting: number;
  /** Pages of the key-value cache: free, held for reuse by no running sequence, all. */
  pagesFree: number;
  pagesCached: number;
  pagesTotal: number;
  /** Prompt tokens asked for, and those of them that the cache held. */
  promptTokens: number;
  cachedTokens: number;
  generatedTokens: number;
  /** Sequences that gave way to others and were computed again. */
  preemptions: number;
  /** Tokens proposed by speculation, and those of them that were right. */
  draftedTokens: number;
  acceptedTokens: number;
  weightBytes: number;
  cacheBytes: number;
}

export interface ServedModel extends LanguageModel {
  /** Ids of a text, without control tokens; of a request's input, as the model will read it. */
  tokenize(
    input: string | Pick<GenerateRequest, "input" | "tools" | "toolChoice" | "templateOptions">,
  ): Promise<number[]>;
  detokenize(ids: readonly number[]): Promise<string>;
  embed(texts: readonly (string | readonly number[])[], options?: EmbedOptions): Promise<Embeddings>;
  /** Loads a PEFT adapter directory under a name, beside requests under way. */
  loadAdapter(name: string, directory: string): Promise<void>;
  /** Requests under way with it end first. */
  unloadAdapter(name: string): Promise<void>;
  adapters(): Promise<readonly string[]>;
  statistics(): Promise<EngineStatistics>;
}
