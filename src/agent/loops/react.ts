// The tool loop: the model answers or calls tools, results go back, until it answers; the last turn may not call.
import { collect, type LanguageModel, type Sampling } from "../../protocol/language-model.ts";
import type { Message, ToolCall } from "../../protocol/message.ts";
import { callTool, definitionOf, type Tool, type ToolOutcome } from "../tool.ts";

export interface ReactOptions {
  model: LanguageModel;
  messages: readonly Message[];
  tools: readonly Tool[];
  /** Generations at most; the last is asked to answer. Default 6. */
  maxTurns?: number;
  maxTokens?: number;
  sampling?: Sampling;
  signal: AbortSignal;
}

export type AgentEvent =
  | { type: "tool-call"; toolCall: ToolCall }
  | { type: "tool-result"; toolCall: ToolCall; outcome: ToolOutcome }
  | { type: "answer"; text: string };

export interface AgentResult {
  answer: string;
  /** The whole dialogue, calls and results among it. */
  messages: Message[];
  turns: number;
}

/** Runs every call of a message in order. A call that fails tells the model why and stays in the history. */
export async function* react(options: ReactOptions): AsyncGenerator<AgentEvent, AgentResult, void> {
  const { model, tools, maxTurns = 6, signal } = options;
  const messages = [...options.messages];
  for (let turn = 1; ; turn++) {
    const said = await collect(
      model.generate({
        input: { messages },
        tools: tools.map(definitionOf),
        toolChoice: turn === maxTurns ? "none" : "auto",
        ...(options.maxTokens === undefined ? {} : { maxTokens: options.maxTokens }),
        ...options.sampling,
        signal,
      }),
    );
    if (said.toolCalls.length === 0 || turn === maxTurns) {
      messages.push({ role: "assistant", content: said.text });
      yield { type: "answer", text: said.text };
      return { answer: said.text, messages, turns: turn };
    }
    messages.push({ role: "assistant", content: said.text, toolCalls: said.toolCalls });
    for (const toolCall of said.toolCalls) {
      yield { type: "tool-call", toolCall };
      const outcome = await callTool(tools, toolCall, signal);
      yield { type: "tool-result", toolCall, outcome };
      const content = JSON.stringify(outcome.ok ? outcome.result : { error: outcome.error });
      messages.push({ role: "tool", content, toolCallId: toolCall.id, name: toolCall.name });
    }
  }
}
