// One answer under way: from the logits of each position to the next id, and to the events that it completes.
import { randomBytes } from "node:crypto";
import type { Floats } from "../kernels/kernels.ts";
import type { GenerateEvent } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { createAnswer } from "./answer.ts";
import { tokenLogprob } from "./logprobs.ts";
import { createPenalties } from "./penalties.ts";
import type { Prepared } from "./request.ts";
import type { Sampler } from "./sampler.ts";

export interface GenerationOptions {
  tokenizer: Tokenizer;
  sampler: Sampler;
  prepared: Prepared;
  emit(event: GenerateEvent): void;
  /** Prompt tokens that the cache held. */
  cachedTokens(): number;
}

export interface Generation {
  /**
   * Takes the logits [vocab] of what follows ids[position] and returns the id chosen, or "done" after the last event.
   * Called once for each position in order, from the prompt's last. The logits are left as they are.
   */
  next(position: number, logits: Floats): number | "done";
  /**
   * Up to `limit` ids that are likely to come next because the answer's form leaves no choice about their text: drafts,
   * none of which must be chosen.
   */
  drafts(limit: number): readonly number[];
}

export function createGeneration({ tokenizer, sampler, prepared, emit, cachedTokens }: GenerationOptions): Generation {
  const { promptIds, maxTokens, sampling, stop, guide, calls, continuing, logprobs } = prepared;
  const penalties = createPenalties(prepared.penalties, promptIds);
  const answer = createAnswer({
    tokenizer,
    guide,
    stop,
    calls,
    maxTokens,
    continuing,
    promptTokens: promptIds.length,
    callId: () => `call_${randomBytes(12).toString("hex")}`,
    emit: (event) =>
      emit(event.type === "finish" ? { ...event, usage: { ...event.usage, cachedTokens: cachedTokens() } } : event),
  });
  return {
    next(position, logits) {
      // Ids past the tokenizer's, which pad the model's matrices, stand for nothing.
      const known = logits.subarray(0, tokenizer.vocabSize);
      const mask = guide.mask(maxTokens - answer.tokens);
      const id = sampler.choose(known, sampling, position + 1, { mask, penalties });
      penalties?.accept(id);
      const logprob = logprobs === undefined ? undefined : tokenLogprob(tokenizer, logits, id, logprobs);
      return answer.push(id, logprob) ? "done" : id;
    },
    drafts: (limit) => guide.drafts(Math.min(limit, maxTokens - answer.tokens)),
  };
}
