// What a schema may cost to compile. References and alternatives multiply, so that a short schema can stand for more than
// memory holds: everything that is done for one is counted.
import { Failure } from "../../protocol/errors.ts";

/** One is a keyword, a name or a value looked at: a few microseconds. */
const maxParts = 100_000;

/** Counts work for the schema at a path. Throws Failure("input") that names the path once it is too much. */
export type Spend = (parts: number, path: string) => void;

/** For one schema, or for all of a request's together. */
export function createBudget(): Spend {
  let left = maxParts;
  return (parts, path) => {
    left -= parts;
    if (left >= 0) return;
    throw new Failure(
      "input",
      `The JSON schema at ${path} is too large once its references and alternatives are written out.`,
      "Give a smaller one, or one with fewer alternatives within alternatives.",
    );
  };
}
