// A tool: what an agent may call. One file in tools/ default-exports defineTool({...}).
import { z } from "zod";
import type { ToolDefinition } from "../protocol/message.ts";

export interface Tool<Arguments = unknown> {
  name: string;
  /** What it does, for the model. */
  description: string;
  /** The arguments, checked before every call. */
  parameters: z.ZodType<Arguments>;
  /** The result goes to the model as JSON. An error's message goes to the model too. */
  run(args: Arguments, signal: AbortSignal): unknown;
}

/** Identity: infers the type of the arguments. */
export function defineTool<Arguments>(tool: Tool<Arguments>): Tool<Arguments> {
  return tool;
}

/** The tool as a model is told of it. */
export function definitionOf(tool: Tool): ToolDefinition {
  const { $schema: _, ...parameters } = z.toJSONSchema(tool.parameters) as Record<string, unknown>;
  return { name: tool.name, description: tool.description, parameters };
}

export type ToolOutcome =
  | { ok: true; result: unknown }
  /** The call could not be made or failed; the message says why and what was expected. */
  | { ok: false; error: string };

/** Checks the arguments of a call and runs it. Never throws but for an abort. */
export async function callTool(
  tools: readonly Tool[],
  call: { name: string; arguments: string },
  signal: AbortSignal,
): Promise<ToolOutcome> {
  signal.throwIfAborted();
  const tool = tools.find(({ name }) => name === call.name);
  if (!tool) {
    return { ok: false, error: `There is no tool ${call.name}. Known: ${tools.map(({ name }) => name).join(", ")}.` };
  }
  let json: unknown;
  try {
    json = JSON.parse(call.arguments);
  } catch (error) {
    return { ok: false, error: `The arguments are not JSON: ${(error as Error).message}. Call ${tool.name} again.` };
  }
  const parsed = tool.parameters.safeParse(json);
  if (!parsed.success) {
    return { ok: false, error: `The arguments do not fit ${tool.name}: ${z.prettifyError(parsed.error)}` };
  }
  try {
    return { ok: true, result: await tool.run(parsed.data, signal) };
  } catch (error) {
    signal.throwIfAborted();
    return { ok: false, error: `${tool.name} failed: ${error instanceof Error ? error.message : String(error)}` };
  }
}
