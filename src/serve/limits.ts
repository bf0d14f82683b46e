// How much of each a request may hold: no dialogue needs more.

export const maxMessages = 4096;
/** Parts of one message. */
export const maxParts = 256;
export const maxTools = 128;
export const maxStops = 16;
/** Answers to one prompt. */
export const maxAnswers = 64;
/** Alternatives of each token. */
export const maxTopLogprobs = 20;
/** Texts that an answer may have to be one of. */
export const maxChoices = 1024;
/** Tokens with a bias. */
export const maxBiases = 1024;
/** Prompts of one text completion. */
export const maxPrompts = 256;
/** Texts to embed: what the official API takes, and clients send. */
export const maxInputs = 2048;
