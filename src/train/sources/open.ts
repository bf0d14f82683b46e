// Token directories as sources of training: named, weighed, checked to be of one tokenizer, and opened together.
import { readManifest } from "../../formats/manifest.ts";
import { openTokens, type TokenDocuments } from "../../formats/token-shards.ts";
import { Failure } from "../../protocol/errors.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/index.ts";
import { mostSources, type MixedSource } from "./mix.ts";

export interface SourceSettings {
  /** Under which its loss is reported. */
  name: string;
  /** A tokens directory. */
  tokens: string;
  /** Its part of what is trained on, in relation to the others'. Default: its tokens times its epochs. */
  weight?: number;
  /** How often it is gone through before it leaves the mix; parts of an epoch count. Default: without end. */
  epochs?: number;
}

export interface OpenSource {
  name: string;
  /** Of the rows trained on while all sources are in the mix; they add up to 1. */
  share: number;
  /** Rows after which it leaves the mix; Infinity: never. */
  mostRows: number;
  train: TokenDocuments;
  validation: TokenDocuments;
}

export interface OpenSources extends Disposable {
  readonly list: readonly OpenSource[];
  readonly tokenizer: Tokenizer;
  /** A directory with the tokenizer's files. */
  readonly tokenizerDirectory: string;
}

/** Reads "NAME=DIR", "NAME=DIR:0.7" (a weight), "NAME=DIR:2ep" (epochs) or both. Throws Failure("usage"). */
export function parseSource(text: string): SourceSettings {
  const match = /^([^=]*)=(.*)$/s.exec(text);
  if (!match) {
    throw new Failure("usage", `--source ${text}: expected NAME=DIR.`, "For example --source wiki=tokens-wiki:0.7");
  }
  const settings: SourceSettings = { name: match[1]!, tokens: match[2]! };
  for (;;) {
    const end = /:(\d+(?:\.\d+)?|\.\d+)(ep)?$/.exec(settings.tokens);
    if (!end) return settings;
    const what = end[2] === undefined ? "weight" : "epochs";
    if (settings[what] !== undefined) throw new Failure("usage", `--source ${text}: it has two numbers for ${what}.`);
    settings[what] = Number(end[1]);
    settings.tokens = settings.tokens.slice(0, end.index);
  }
}

/** Opens both splits of every source. Throws a Failure for sources that cannot be trained on together. */
export function openSources(settings: readonly SourceSettings[]): OpenSources {
  checkSettings(settings);
  const list: OpenSource[] = [];
  const close = (): void => {
    for (const { train, validation } of list) {
      train.close();
      validation.close();
    }
  };
  try {
    const tokenizerDirectory = settings[0]!.tokens;
    for (const { tokens } of settings) readManifest(tokens, "tokens");
    const tokenizer = loadTokenizer(tokenizerDirectory);
    for (const { name, tokens, epochs = Infinity } of settings) {
      const train = openTokens(tokens, "train");
      const opened: OpenSource = { name, share: 0, mostRows: 0, train, validation: train };
      list.push(opened);
      opened.validation = openTokens(tokens, "validation");
      checkSource(tokens, opened, tokenizer, tokenizerDirectory);
      opened.mostRows = Math.floor(epochs * (train.tokens - train.documents));
    }
    const weights = settings.map(({ weight, epochs = 1 }, index) => weight ?? list[index]!.train.tokens * epochs);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    for (const [index, source] of list.entries()) source.share = weights[index]! / sum;
    return { list, tokenizer, tokenizerDirectory, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** What the training split of each source gives to the mix. */
export function trainingMix({ list }: OpenSources): MixedSource[] {
  return list.map(({ name, share, mostRows, train }) => ({ name, documents: train, weight: share, mostRows }));
}

function checkSettings(settings: readonly SourceSettings[]): void {
  const refuse = (what: string, hint?: string): never => {
    throw new Failure("usage", what, hint);
  };
  if (settings.length === 0) refuse("There is nothing to train on.", "Give a tokens directory, or --source NAME=DIR.");
  if (settings.length > mostSources) refuse(`There are ${settings.length} sources, and ${mostSources} are the most.`);
  for (const [index, { name, tokens, weight, epochs }] of settings.entries()) {
    if (!/^[\w.-]{1,40}$/.test(name)) {
      refuse(`A source is called "${name}".`, "Use up to 40 letters, digits, dots, dashes and underscores.");
    }
    if (settings.findIndex((other) => other.name === name) < index) refuse(`Two sources are called ${name}.`);
    if (tokens === "") refuse(`The source ${name} has no directory.`, "For example --source wiki=tokens-wiki:0.7");
    for (const [what, value] of Object.entries({ weight, epochs })) {
      if (value !== undefined && !(value > 0 && value < 1e6)) {
        refuse(`The source ${name}: ${what} is ${value}, and must be above 0 and below a million.`);
      }
    }
  }
  const weighed = settings.filter(({ weight }) => weight !== undefined).length;
  if (weighed > 0 && weighed < settings.length) {
    const without = settings.find(({ weight }) => weight === undefined)!;
    refuse(
      `The source ${without.name} has no weight, and others have one.`,
      "Give a weight to all of them, or to none.",
    );
  }
}

function checkSource(
  tokens: string,
  { train, validation }: OpenSource,
  tokenizer: Tokenizer,
  tokenizerDirectory: string,
): void {
  for (const { tokenizerId } of [train, validation]) {
    if (tokenizerId === tokenizer.id) continue;
    throw new Failure(
      "input",
      tokens === tokenizerDirectory
        ? `${tokens} was made with another tokenizer than the one that is in it now.`
        : `${tokens} was made with another tokenizer than ${tokenizerDirectory}.`,
      "Make the directory again with `lianlu tokenize`.",
    );
  }
  if (train.tokens - train.documents < 1 || validation.tokens - validation.documents < 1) {
    throw new Failure(
      "input",
      `${tokens}: ${train.tokens} training and ${validation.tokens} validation tokens are too few to train on.`,
      "Use a larger corpus, or a larger --validation-share in `lianlu tokenize`.",
    );
  }
}
