// Which filters judge a document: those named, or with "auto" those that suit its script.
import { filterNames, filterText, loadFilters } from "./filter.ts";
import type { Document } from "./document.ts";
import type { Script } from "./script.ts";

export interface Judge {
  /** By rule, for the manifest. */
  thresholds: Record<string, Readonly<Record<string, number>>>;
  /** The first rule that the document breaks, with the reason. */
  check(document: Document, body: string, script: Script): { rule: string; reason: string } | undefined;
}

const AUTO = "auto";

/**
 * @param rules names of filters, paths of one's own, "auto"; nothing is filtered where empty.
 * @throws Failure "usage" for a rule that there is not.
 */
export async function createJudge(rules: readonly string[]): Promise<Judge> {
  const automatic = rules.includes(AUTO) ? await loadFilters(filterNames()) : [];
  const named = await loadFilters(rules.filter((rule) => rule !== AUTO));
  const namedNames = new Set(named.map(({ name }) => name));
  const byScript = (script: Script): typeof named => [
    ...automatic.filter(({ name, scripts }) => scripts.includes(script) && !namedNames.has(name)),
    ...named,
  ];
  // Sizes first: the other rules divide by them.
  const order = (filters: typeof named): typeof named =>
    filters.toSorted((one, two) => Number(two.name === "length") - Number(one.name === "length"));
  const chosen = {
    han: order(byScript("han")),
    latin: order(byScript("latin")),
    other: order(byScript("other")),
  };
  return {
    thresholds: Object.fromEntries([...automatic, ...named].map(({ name, thresholds }) => [name, thresholds ?? {}])),
    check(document, body, script) {
      const filters = chosen[script];
      if (filters.length === 0) return undefined;
      const text = filterText(document, body, script);
      for (const { name, check } of filters) {
        const reason = check(text);
        if (reason !== undefined) return { rule: name, reason };
      }
      return undefined;
    },
  };
}
