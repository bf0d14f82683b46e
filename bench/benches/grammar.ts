// Constrained decoding: what a mask costs a token, the first time that a grammar is used and later, on real vocabularies; and
// what is left of a model's speed when its answers are constrained.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createConstraint,
  gbnfGrammar,
  jsonObject,
  jsonSchema,
  regexGrammar,
  toolCallGrammar,
  type Grammar,
} from "../../src/engine/grammar/index.ts";
import { load } from "../../src/engine/index.ts";
import type { GenerateRequest, ResponseFormat, ServedModel } from "../../src/protocol/index.ts";
import { callFormat, loadTokenizer, type Tokenizer } from "../../src/tokenizer/index.ts";
import { defineBench, median, milliseconds, row, takeTurns } from "../harness.ts";
import { shapes, writeRandomModel } from "../random-model.ts";

const data = join(import.meta.dirname, "../../../shared/data/tokenizers");
const vocabularies = {
  "32k": join(data, "llama2_tokenizer.model"),
  "92k": join(data, "internlm/tokenizer_internlm2.model"),
  "128k": join(data, "llama.cpp/ggml-vocab-llama-bpe.gguf"),
};

const book = {
  type: "object",
  properties: {
    title: { type: "string" },
    tags: { type: "array", items: { type: "string", maxLength: 20 }, minItems: 3, maxItems: 5 },
    year: { type: "integer", minimum: 0, maximum: 2100 },
    author: {
      type: "object",
      properties: { name: { type: "string", maxLength: 40 }, mail: { type: "string", format: "email" } },
      required: ["name", "mail"],
      additionalProperties: false,
    },
  },
  required: ["title", "tags", "year", "author"],
  additionalProperties: false,
};
const written =
  '{"title": "A history of the tides, told by those who \\"watched\\" them", "tags": ["sea", "moon and stars", "history"], ' +
  '"year": 1987, "author": {"name": "Jane van der Berg", "mail": "jane.berg@example.com"}}';
const tools = [{ name: "store", description: "Stores a book.", parameters: book }];

const grammars: Record<string, { make(tokenizer: Tokenizer): Grammar; text: string }> = {
  schema: { make: () => jsonSchema(book), text: written },
  json: { make: jsonObject, text: written },
  regex: {
    make: () => regexGrammar("[A-Za-z ,.]{20,200}"),
    text: "It was the best of times, it was the worst of times, it was the age of wisdom.",
  },
  gbnf: {
    make: () => gbnfGrammar('root ::= line+\nline ::= [A-Z] [^\\n]* "\\n"'),
    text: "It was the best of times.\nIt was the worst of times.\n",
  },
  "tool call": {
    make: (tokenizer) => toolCallGrammar(tools, callFormat(tokenizer, "hermes")!, { required: false, parallel: true }),
    text: `I will store it.\n<tool_call>\n{"name": "store", "arguments": ${written}}\n</tool_call>`,
  },
};

const repeats = 5;
const answerTokens = 96;
const turns = 5;

export default defineBench({
  async *rows({ threads, wants, note }) {
    for (const [size, path] of Object.entries(vocabularies)) {
      const names = Object.keys(grammars).filter((kind) => wants(`grammar ${size} ${kind}`));
      if (names.length === 0) continue;
      if (!existsSync(path)) {
        note(`There is no ${path}: its vocabulary is left out.`);
        continue;
      }
      const tokenizer = await loadTokenizer(path);
      const trie = milliseconds(() => void createConstraint(jsonObject(), tokenizer));
      yield row(`grammar ${size} vocabulary, once`, 1, trie, "ms");
      const spell = createSpeller(tokenizer);
      for (const kind of names) {
        const { make, text } = grammars[kind]!;
        const ids = spell(text);
        const constraint = createConstraint(make(tokenizer), tokenizer);
        const pass = (): number =>
          milliseconds(() => {
            let state = constraint.start;
            for (const id of ids) {
              constraint.allowed(state, 4096);
              state = constraint.advance(state, id);
            }
          }) / ids.length;
        yield row(`grammar ${size} ${kind}, first use`, 1, pass() * 1000, "us/token");
        const later = Array.from({ length: repeats }, pass);
        yield row(`grammar ${size} ${kind}`, 1, median(later) * 1000, "us/token");
      }
    }
    if (!wants("grammar decode")) return;
    const directory = mkdtempSync(join(tmpdir(), "lianlu-bench-"));
    try {
      let path = process.env["LIANLU_TINYLLAMA"];
      if (path === undefined) {
        path = join(directory, "model.gguf");
        writeRandomModel(path, shapes["1.1B"], "q4_0");
      }
      for (const count of threads) {
        const model = await load(path, { threads: count, maxContext: 1024 });
        const [free, first, again] = await decode(model);
        const beside = { limit: free! };
        yield row("grammar decode schema, first use", count, first!, "tokens/s", beside);
        yield row("grammar decode schema", count, again!, "tokens/s", beside);
        await model.close();
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
});

/** Tokens a second of a free answer, of one under a schema that is new, and of one under a schema that was used before. */
async function decode(model: ServedModel): Promise<number[]> {
  let fresh = 0;
  // Strings of a length that fills the answer, so that all three write as many tokens.
  const schema = (name: string): ResponseFormat => ({
    type: "json_schema",
    schema: {
      type: "object",
      properties: { [name]: { type: "array", items: { type: "string", minLength: 10, maxLength: 40 }, minItems: 100 } },
      required: [name],
      additionalProperties: false,
    },
  });
  const time = async (request: Partial<GenerateRequest>): Promise<number> => {
    const at: number[] = [];
    const abort = new AbortController();
    const prompt = "Write about the sea.";
    try {
      for await (const event of model.generate({
        input: { prompt },
        temperature: 0,
        logprobs: 0,
        signal: abort.signal,
        ...request,
      })) {
        if (event.type === "text-delta") for (const _ of event.logprobs ?? []) at.push(performance.now());
        if (at.length >= answerTokens) abort.abort();
      }
    } catch (error) {
      if (!abort.signal.aborted) throw error;
    }
    // From the second token on: the first has the prompt's time.
    return (at.at(-1)! - at[0]!) / (at.length - 1);
  };
  const subjects = [
    () => time({ ignoreEos: true }),
    () => time({ responseFormat: schema(`list ${fresh++}`) }),
    () => time({ responseFormat: schema("list") }),
  ];
  await takeTurns(subjects, 1);
  return (await takeTurns(subjects, turns)).map((ms) => 1000 / ms);
}

/** Spells a text with the longest tokens. */
function createSpeller(tokenizer: Tokenizer): (text: string) => number[] {
  const ids = new Map<string, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (!tokenizer.isControl(id)) ids.set(Buffer.from(tokenizer.tokenBytes(id)).toString("latin1"), id);
  }
  return (text) => {
    const bytes = Buffer.from(text, "utf8").toString("latin1");
    const result: number[] = [];
    for (let at = 0; at < bytes.length;) {
      let length = Math.min(32, bytes.length - at);
      while (!ids.has(bytes.slice(at, at + length))) length -= 1;
      result.push(ids.get(bytes.slice(at, at + length))!);
      at += length;
    }
    return result;
  };
}
