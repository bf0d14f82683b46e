// JSON pointers, by which schemas refer to parts of themselves.
import { isObject, type Schema } from "./schema-check.ts";

/** What a pointer such as #/$defs/name leads to; undefined where nothing is there. */
export function follow(root: unknown, pointer: string): unknown {
  let schema: unknown = root;
  for (const part of pointer.split("/").slice(1)) {
    const key = decode(part)?.replaceAll("~1", "/").replaceAll("~0", "~");
    if (key === undefined || !(isObject(schema) || Array.isArray(schema)) || !Object.hasOwn(schema, key))
      return undefined;
    schema = (schema as Schema)[key];
  }
  return schema;
}

/** A part of a pointer as it was before it was escaped; undefined where it is none. */
function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

/** A name as part of a JSON pointer. */
export function escape(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}
