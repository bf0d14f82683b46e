// A verifier judges answers while a model learns by trial: one file that default-exports defineVerifier({...}), in
// verifiers/ or anywhere a user keeps it.
import { readdirSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { Failure } from "../../protocol/errors.ts";
import type { Message } from "../../protocol/message.ts";
import { importUserModule } from "../../protocol/user-module.ts";

export interface VerifierInput {
  prompt: readonly Message[];
  /** What the model answered. */
  answer: string;
  /** The right answer, where the data have one. */
  reference: string | undefined;
  /** The record of the data as it stands in its file. */
  fields: Readonly<Record<string, unknown>>;
  /** What was given after the verifier's name and a colon. */
  argument: string | undefined;
}

export interface Verifier {
  /** What is rewarded, in a line. */
  summary: string;
  /** Throws where the argument is not one that it understands; called before any answer is made. */
  check?(argument: string | undefined): void;
  /** The reward; most often between 0 and 1. */
  verify(input: VerifierInput): number | Promise<number>;
}

/** Identity: infers types. */
export function defineVerifier(verifier: Verifier): Verifier {
  return verifier;
}

/** A verifier with what was said beside its name. */
export interface ChosenVerifier {
  name: string;
  weight: number;
  argument: string | undefined;
  verifier: Verifier;
}

const builtInFolder = join(import.meta.dirname, "verifiers");

/** Names of the verifiers that come with the product. */
export function verifierNames(): string[] {
  return readdirSync(builtInFolder)
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => file.slice(0, -3))
    .sort();
}

/**
 * Loads "[WEIGHT*]NAME[:ARGUMENT]" or "[WEIGHT*]./FILE.ts", for example "number", "0.2*format:^<think>" or "./verify.ts".
 * Throws Failure("usage") for what is no verifier.
 */
export async function loadVerifier(text: string): Promise<ChosenVerifier> {
  const parts = /^(?:(?<weight>\d+(?:\.\d+)?)\*)?(?<rest>.+)$/s.exec(text)?.groups;
  if (!parts) throw new Failure("usage", `"${text}" names no verifier.`, usage());
  const weight = parts.weight === undefined ? 1 : Number(parts.weight);
  const rest = parts.rest!;
  const isFile = [".ts", ".js", ".mjs"].includes(extname(rest));
  const colon = isFile ? -1 : rest.indexOf(":");
  const name = colon < 0 ? rest : rest.slice(0, colon);
  const argument = colon < 0 ? undefined : rest.slice(colon + 1);
  if (!isFile && !verifierNames().includes(name)) {
    throw new Failure("usage", `There is no verifier "${name}".`, usage());
  }
  const path = isFile ? resolve(rest) : join(builtInFolder, `${name}.ts`);
  let verifier: Partial<Verifier> | undefined;
  try {
    ({ default: verifier } = (await importUserModule(path)) as { default?: Partial<Verifier> });
  } catch (cause) {
    throw new Failure("usage", `${path}: the verifier cannot be loaded: ${(cause as Error).message}.`, undefined, {
      cause,
    });
  }
  if (typeof verifier?.verify !== "function") {
    throw new Failure(
      "usage",
      `${path}: its default export is no verifier.`,
      "Expected: export default defineVerifier({ summary, verify({ prompt, answer, reference }) { return 1; } })",
    );
  }
  verifier.check?.(argument);
  return {
    name: argument === undefined ? name : `${name}:${argument}`,
    weight,
    argument,
    verifier: verifier as Verifier,
  };
}

function usage(): string {
  return `Expected one of ${verifierNames().join(", ")}, or the path of a file like ./verify.ts, with a weight before it where it needs one: 0.5*NAME.`;
}

/** The reward of an answer, and what each verifier gave. Throws a Failure where one gives no finite number. */
export async function judgeAnswer(
  chosen: readonly ChosenVerifier[],
  input: Omit<VerifierInput, "argument">,
): Promise<{ reward: number; parts: Record<string, number> }> {
  const parts: Record<string, number> = {};
  let reward = 0;
  for (const { name, weight, argument, verifier } of chosen) {
    let given: number;
    try {
      given = await verifier.verify({ ...input, argument });
    } catch (cause) {
      if (cause instanceof Failure) throw cause;
      const what = `The verifier ${name} failed at the answer ${JSON.stringify(input.answer.slice(0, 80))}`;
      throw new Failure("input", `${what}: ${(cause as Error).message}.`, "Mend the verifier.", { cause });
    }
    if (!Number.isFinite(given)) {
      throw new Failure(
        "numeric",
        `The verifier ${name} gave ${String(given)}, which is no reward.`,
        "Return a number.",
      );
    }
    parts[name] = given;
    reward += weight * given;
  }
  return { reward, parts };
}
