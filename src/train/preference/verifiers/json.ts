// 1 where the whole answer is JSON.
import { defineVerifier } from "../verifier.ts";

export default defineVerifier({
  summary: "the whole answer is JSON",
  verify({ answer }) {
    try {
      JSON.parse(answer);
      return 1;
    } catch {
      return 0;
    }
  },
});
