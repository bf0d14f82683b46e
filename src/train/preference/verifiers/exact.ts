// 1 where the answer is the reference answer, but for white space at its ends.
import { defineVerifier } from "../verifier.ts";

export default defineVerifier({
  summary: "the answer is the reference answer",
  verify: ({ answer, reference }) => (reference !== undefined && answer.trim() === reference.trim() ? 1 : 0),
});
