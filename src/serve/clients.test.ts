// Clients that must work unchanged: the AI SDK over HTTP and in process, and LangChain. (The official clients of OpenAI
// and Anthropic are in the tests of their routes.)
import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import type { EmbeddingModelV4, LanguageModelV4, ProviderV4 } from "@ai-sdk/provider";
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { embedMany, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { createEngine } from "../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../engine/test-support.ts";
import { collect } from "../protocol/index.ts";
import { createLianlu } from "./ai-sdk.ts";
import { answer, scriptedModel, startServer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 64, { delay: 1 }),
  tokenizer,
  maxPositions: 4096,
});
const call = { id: "call_a", name: "rhyme", arguments: '{"word":"月"}' };
/** Calls the tool first, and answers when its result is there. */
const scripted = scriptedModel("scripted", function* (request) {
  const messages = "messages" in request.input ? request.input.messages : [];
  const last = messages.at(-1);
  if (request.tools && last?.role !== "tool") {
    yield { type: "tool-call", toolCall: call };
    yield { type: "finish", reason: "tool-calls", usage: { promptTokens: 9, completionTokens: 8 } };
  } else yield* answer(last?.role === "tool" ? `rhymes: ${last.content}` : "one two three");
});
const server = await startServer({
  models: [engine, scripted].map((model) => ({ id: model.id, load: () => Promise.resolve(model) })),
});
await server.ready;
const baseURL = `${server.url}/v1`;
const overHttp = createOpenAICompatible({
  name: "lianlu",
  baseURL,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const schema = {
  type: "object" as const,
  properties: {
    name: { enum: ["a", "b"] as ("a" | "b")[] },
    count: { type: "integer" as const, minimum: 0, maximum: 9 },
  },
  required: ["name", "count"],
  additionalProperties: false,
};
const prompt = "以月为题";
const expected = await collect(
  engine.generate({
    input: { messages: [{ role: "user", content: prompt }] },
    maxTokens: 20,
    temperature: 0.8,
    seed: 3,
  }),
);

// The provider in process has the shape that the SDK's types ask for.
const inProcess: ProviderV4 = createLianlu(engine);
const scriptedInProcess: ProviderV4 = createLianlu(scripted);
const ways: { way: string; chat: (id: "tiny" | "scripted") => LanguageModelV4; embedding: EmbeddingModelV4 }[] = [
  { way: "over HTTP", chat: (id) => overHttp(id), embedding: overHttp.embeddingModel("scripted") },
  {
    way: "in process",
    chat: (id) => (id === "tiny" ? inProcess : scriptedInProcess).languageModel(id),
    embedding: scriptedInProcess.embeddingModel("scripted"),
  },
];
for (const { way, chat, embedding } of ways) {
  test(`the AI SDK ${way}: text, streams, tools, objects, embeddings, errors, abort`, async () => {
    const model = chat("tiny");
    const request = { model, prompt, maxOutputTokens: 20, temperature: 0.8, seed: 3, maxRetries: 0 };
    const whole = await generateText(request);
    assert.equal(whole.text, expected.text);
    assert.equal(whole.usage.outputTokens, expected.usage.completionTokens);
    const stream = streamText(request);
    assert.equal((await Array.fromAsync(stream.textStream)).join(""), expected.text);
    assert.equal((await stream.usage).inputTokens, expected.usage.promptTokens);

    const rhyme = tool({
      inputSchema: jsonSchema<{ word: string }>({ type: "object", properties: { word: { type: "string" } } }),
      execute: ({ word }) => Promise.resolve(`${word}, 雪`),
    });
    const stepped = {
      model: chat("scripted"),
      prompt: "hi",
      tools: { rhyme },
      stopWhen: stepCountIs(3),
      maxRetries: 0,
    };
    const called = await generateText(stepped);
    assert.equal(called.text, "rhymes: 月, 雪");
    assert.equal(called.steps.length, 2);
    assert.equal(await streamText(stepped).text, called.text);

    const { output } = await generateText({
      ...request,
      maxOutputTokens: 60,
      output: Output.object({ schema: jsonSchema<{ name: string; count: number }>(schema) }),
    });
    assert.ok(["a", "b"].includes(output.name) && Number.isInteger(output.count));

    const { embeddings, usage } = await embedMany({ model: embedding, values: ["ab", "abc"], maxRetries: 0 });
    assert.deepEqual(
      [embeddings, usage.tokens],
      [
        [
          [2, 0.5],
          [3, 0.5],
        ],
        5,
      ],
    );

    await assert.rejects(generateText({ ...request, maxOutputTokens: 9000 }), /this model's context is 4096/);
    const controller = new AbortController();
    const endless = { ...request, maxOutputTokens: 4000, abortSignal: controller.signal };
    setTimeout(() => controller.abort(), 30);
    await assert.rejects(generateText(endless), { name: "AbortError" });
    for (let tries = 0; (await engine.statistics()).running > 0 && tries < 500; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal((await engine.statistics()).running, 0);
  });
}

test("the provider in process refuses options that it does not know", async () => {
  const request = { model: inProcess.languageModel("tiny"), prompt, maxOutputTokens: 5, maxRetries: 0 };
  assert.ok(await generateText({ ...request, providerOptions: { lianlu: { minP: 0.1, ignoreEos: true } } }));
  await assert.rejects(
    generateText({ ...request, providerOptions: { lianlu: { min_p: 0.1 } } }),
    /There is no option lianlu.min_p/,
  );
});

test("LangChain: text, streams, tools, objects, embeddings, errors, abort", async () => {
  const configuration = { baseURL };
  const common = { configuration, apiKey: "none", maxRetries: 0 };
  const chat = new ChatOpenAI({ ...common, model: "tiny", maxTokens: 20, temperature: 0.8, modelKwargs: { seed: 3 } });
  const whole = await chat.invoke(prompt);
  assert.equal(whole.content, expected.text);
  const { output_tokens: counted } = (whole.usage_metadata as { output_tokens: number } | undefined) ?? {};
  assert.equal(counted, expected.usage.completionTokens);
  const pieces = await Array.fromAsync(await chat.stream(prompt));
  assert.equal(pieces.map(({ content }) => content as string).join(""), expected.text);

  const rhyme = {
    type: "function",
    function: {
      name: "rhyme",
      description: "",
      parameters: { type: "object", properties: { word: { type: "string" } } },
    },
  };
  const withTools = new ChatOpenAI({ ...common, model: "scripted" }).bindTools([rhyme]);
  const asked = await withTools.invoke("hi");
  assert.deepEqual(
    asked.tool_calls!.map(({ id, name, args }) => ({ id, name, args })),
    [{ id: call.id, name: "rhyme", args: { word: "月" } }],
  );
  const told = await withTools.invoke([
    new HumanMessage("hi"),
    new AIMessage({ content: "", tool_calls: asked.tool_calls! }),
    new ToolMessage({ content: "雪", tool_call_id: call.id }),
  ]);
  assert.equal(told.content, "rhymes: 雪");

  const structured = new ChatOpenAI({ ...common, model: "tiny", maxTokens: 60 }).withStructuredOutput<{ name: string }>(
    { title: "answer", ...schema },
    { method: "jsonSchema" },
  );
  assert.ok(["a", "b"].includes((await structured.invoke(prompt)).name));

  const embeddings = new OpenAIEmbeddings({ ...common, model: "scripted" });
  assert.deepEqual(await embeddings.embedDocuments(["ab", "abc"]), [
    [2, 0.5],
    [3, 0.5],
  ]);
  const wrong = new ChatOpenAI({ ...common, model: "other" });
  await assert.rejects(wrong.invoke("hi"), /"other" is not served here/);
  await assert.rejects(chat.invoke(prompt, { signal: AbortSignal.timeout(1) }));
});
