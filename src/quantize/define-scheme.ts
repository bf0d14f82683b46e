// The identity that gives a scheme file its type.
import type { Scheme } from "./scheme.ts";

export function defineScheme(scheme: Scheme): Scheme {
  return scheme;
}
