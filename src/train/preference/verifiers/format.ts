// 1 where a regular expression is found in the answer.
import { Failure } from "../../../protocol/errors.ts";
import { defineVerifier } from "../verifier.ts";

const patterns = new Map<string, RegExp>();

function patternOf(argument: string | undefined): RegExp {
  if (argument === undefined || argument === "") {
    throw new Failure("usage", "The verifier format needs a regular expression.", "For example format:^<think>");
  }
  let pattern = patterns.get(argument);
  if (pattern === undefined) {
    try {
      pattern = new RegExp(argument, "su");
    } catch (cause) {
      throw new Failure("usage", `format: ${(cause as Error).message}.`, "Give a JavaScript expression.", { cause });
    }
    patterns.set(argument, pattern);
  }
  return pattern;
}

export default defineVerifier({
  summary: "a regular expression is found in the answer: format:^<think>",
  check: (argument) => void patternOf(argument),
  verify: ({ answer, argument }) => (patternOf(argument).test(answer) ? 1 : 0),
});
