// A request's body as JSON, or the 4xx that says why not.
import { HttpError } from "./errors.ts";

/** JSON nested deeper than this is refused before anything walks it. */
const maxNesting = 256;

/** Throws HttpError 415 where the type is not JSON, 400 where the text is not. */
export async function readJson(request: Request): Promise<unknown> {
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new HttpError(
      415,
      `The content type is ${type === "" ? "missing" : JSON.stringify(type)}; expected application/json.`,
    );
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

/** Deepest level of brackets outside strings. */
function nesting(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/gsu)) {
    if (token === "{" || token === "[") deepest = Math.max(deepest, ++depth);
    else if (token === "}" || token === "]") depth -= 1;
  }
  return deepest;
}
