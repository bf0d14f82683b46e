// The identity that gives a scheme file its type.
import type { Scheme } from "./scheme.ts";

export function defineScheme<Kind extends Scheme>(scheme: Kind): Kind {
  return scheme;
}
