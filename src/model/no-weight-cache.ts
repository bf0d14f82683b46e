// The weight cache of models that are loaded to be trained, measured or thrown away: it keeps nothing.
import type { WeightCache } from "./weight-cache.ts";

export const notKept: WeightCache = {
  weight: (_name, make) => make(),
  bytes: (_name, make) => make(),
  save: () => Promise.resolve(false),
};
