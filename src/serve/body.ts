// A request's body as JSON and as what a schema says of it, or the 4xx that says why not. Every field is honoured or
// refused by name.
import { z } from "zod";
import { HttpError, unsupportedField } from "./errors.ts";

/** JSON nested deeper than this is refused before anything walks it. */
const maxNesting = 256;

/** Throws HttpError 415 where the type is not JSON or the body is compressed, 400 where the text is not JSON. */
export async function readJson(request: Request): Promise<unknown> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new HttpError(
      415,
      `The content type is ${type === "" ? "missing" : JSON.stringify(type)}; expected application/json.`,
    );
  }
  const encoding = request.headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") {
    throw new HttpError(415, `The content encoding is ${JSON.stringify(encoding)}; send the body as it is.`);
  }
  const bytes = await request.arrayBuffer();
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new HttpError(400, "The body is not UTF-8.");
  }
  if (nesting(text) > maxNesting) throw new HttpError(400, `The body is nested deeper than ${maxNesting} levels.`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpError(400, `The body is not JSON: ${(error as Error).message}.`);
  }
}

/** Deepest level of brackets outside strings; one look at each character, whatever the text is. */
function nesting(json: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < json.length; index++) {
    const character = json[index];
    if (inString) {
      if (character === "\\") index += 1;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "{" || character === "[") deepest = Math.max(deepest, ++depth);
    else if (character === "}" || character === "]") depth -= 1;
  }
  return deepest;
}

/** Any JSON object, taken as it is: walking its keys would cost time that a client decides. */
export const jsonObject = z.custom<Record<string, unknown>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "expected an object",
);

/**
 * A body by its schema; `neutral` are fields that are not supported, with the one value of each that asks for nothing.
 * Throws HttpError 400 that names the field.
 */
export function parseBody<Schema extends z.ZodType>(
  schema: Schema,
  body: unknown,
  neutral: Readonly<Record<string, unknown>> = {},
): z.infer<Schema> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new HttpError(400, "The body is not a JSON object.");
  }
  const fields: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries(body)) {
    // The official clients mean "not given" by null.
    if (value === null) continue;
    if (!Object.hasOwn(neutral, key)) {
      fields[key] = value;
      continue;
    }
    const nothing = JSON.stringify(neutral[key]);
    if (JSON.stringify(value) !== nothing) throw unsupportedField(key, `leave it out, or give ${nothing}`);
  }
  const parsed = schema.safeParse({ ...fields });
  if (!parsed.success) throw refusal(parsed.error.issues[0]!);
  return parsed.data;
}

function refusal(issue: z.core.$ZodIssue): HttpError {
  const path = issue.path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("")
    .replace(/^\./, "");
  if (issue.code === "unrecognized_keys") return unsupportedField([path, issue.keys[0]!].filter(Boolean).join("."));
  return new HttpError(400, `${path || "The body"}: ${issue.message}`, {
    ...(path && { param: path }),
    code: "invalid_value",
  });
}

/** The fields of an object that are defined. */
export function given<Fields extends object>(
  fields: Fields,
): { [Name in keyof Fields]?: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields]?: Exclude<Fields[Name], undefined>;
  };
}
