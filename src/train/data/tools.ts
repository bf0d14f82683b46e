// Tool definitions and tool calls in the shapes in which data sets write them.
import type { ToolCall, ToolDefinition } from "../../protocol/message.ts";
import { asList, asObject, asText, isObject, parseJson } from "./fields.ts";
import { RecordFault } from "./format.ts";

/** Definitions as a list or as its JSON text, bare or as {"type": "function", "function": {...}}; undefined for none. */
export function readTools(value: unknown, field: string): ToolDefinition[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value.trim() === "" ? undefined : readTools(parseJson(value, field), field);
  if (!Array.isArray(value)) throw new RecordFault(field, "expected a list of tools, or the JSON of one");
  if (value.length === 0) return undefined;
  return value.map((each, index) => {
    const place = `${field}[${index}]`;
    const outer = asObject(typeof each === "string" ? parseJson(each, place) : each, place);
    const tool = isObject(outer["function"]) ? outer["function"] : outer;
    const { name, description, parameters } = tool;
    const schema = typeof parameters === "string" ? parseJson(parameters, `${place}.parameters`) : parameters;
    return {
      name: asText(name, `${place}.name`),
      description: typeof description === "string" ? description : "",
      parameters: isObject(schema) ? schema : { type: "object", properties: {} },
    };
  });
}

/** Calls as OpenAI writes them (`function.arguments` as text), or bare as {"name", "arguments"}; `nextId` numbers those without id. */
export function readCalls(value: unknown, field: string, nextId: () => string): ToolCall[] {
  return asList(value, field).map((each, index) => readCall(each, `${field}[${index}]`, nextId));
}

/** One call, or the JSON text of one or several, as `function_call` turns hold it. */
export function readCallText(text: string, field: string, nextId: () => string): ToolCall[] {
  const value = parseJson(text, field);
  return Array.isArray(value) ? readCalls(value, field, nextId) : [readCall(value, field, nextId)];
}

function readCall(value: unknown, field: string, nextId: () => string): ToolCall {
  const outer = asObject(value, field);
  const call = isObject(outer["function"]) ? outer["function"] : outer;
  const given = call["arguments"] ?? call["parameters"] ?? {};
  const text = typeof given === "string" ? (given.trim() === "" ? "{}" : given) : JSON.stringify(given);
  if (!isObject(parseJson(text, `${field}.arguments`)))
    throw new RecordFault(`${field}.arguments`, "expected a JSON object of arguments");
  const id = outer["id"];
  return {
    id: typeof id === "string" && id !== "" ? id : nextId(),
    name: asText(call["name"], `${field}.name`),
    arguments: text,
  };
}
