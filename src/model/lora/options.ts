// What shapes an adapter, and which layers its targets name, in the words of any family.
import { Failure } from "../../protocol/errors.ts";

export interface LoraOptions {
  rank: number;
  /** The change is scaled by alpha / rank. */
  alpha: number;
  /**
   * Ends of layer names, for example "wqkv" or "attention.wo". "all-linear" is every linear layer, the output layer among
   * them: without it a model that never met the control tokens could not learn to end its turn.
   */
  targets: readonly string[] | "all-linear";
  /** The share of an adapter's inputs that are dropped in training. Default 0. */
  dropout?: number;
  /** Scales by alpha / sqrt(rank) instead (Kalajdzievski, arXiv 2312.03732). Default false. */
  rslora?: boolean;
  /** Trains the length of each output's weights beside their direction (DoRA, arXiv 2402.09353). Default false. */
  dora?: boolean;
}

/** What B A is multiplied by. */
export function loraFactor({ rank, alpha, rslora }: Pick<LoraOptions, "rank" | "alpha" | "rslora">): number {
  return alpha / (rslora ? Math.sqrt(rank) : rank);
}

/** The last part of a layer's name. */
export function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** What families call the same layers, those that are the same layer in each. */
const synonyms: readonly (readonly [internlm2: string, llama: string])[] = [
  ["wo", "o_proj"],
  ["w1", "gate_proj"],
  ["w3", "up_proj"],
  ["w2", "down_proj"],
  ["output", "lm_head"],
];

/**
 * Whether a layer is a target, for each layer of a decoder. Throws Failure("usage") for a target that names none.
 * Names of other families count where a layer is the same; the fused wqkv is not three layers, whose adapters would not
 * share one A.
 */
export function targetsOf(
  { targets }: Pick<LoraOptions, "targets">,
  layers: readonly string[],
): (name: string) => boolean {
  if (targets === "all-linear") return (name) => layers.includes(name);
  const chosen = new Set<string>();
  for (const target of targets) {
    const found = namedBy(target, layers);
    if (found.length === 0) throw unknownTarget(target, layers);
    for (const name of found) chosen.add(name);
  }
  return (name) => chosen.has(name);
}

function namedBy(target: string, layers: readonly string[]): string[] {
  const ends = (end: string) => layers.filter((name) => name === end || name.endsWith(`.${end}`));
  const found = ends(target);
  if (found.length > 0) return found;
  const same = synonyms.find((pair) => pair.includes(target));
  return same ? same.flatMap(ends) : [];
}

function unknownTarget(target: string, layers: readonly string[]): Failure {
  const names = [...new Set(layers.map(lastPart))].join(", ");
  const fused = /^[qkv]_proj$/.test(target) && layers.some((name) => lastPart(name) === "wqkv");
  const split = target === "wqkv" && layers.some((name) => lastPart(name) === "q_proj");
  return new Failure(
    "usage",
    fused
      ? `No layer is called "${target}": this model's q, k and v are one layer, whose adapter has one A for all three.`
      : split
        ? `No layer is called "wqkv": this model's q, k and v are three layers.`
        : `No layer is called "${target}".`,
    fused ? 'Use "wqkv".' : split ? 'Use "q_proj", "k_proj", "v_proj".' : `Use "all-linear" or some of: ${names}.`,
  );
}
