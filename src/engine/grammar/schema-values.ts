// Whether values that a schema gives are valid by its other keywords.
import { isObject, type Schema } from "./schema-check.ts";

/** Whether a value meets the keywords that look at numbers and strings. */
export function meets(value: unknown, schema: Schema, matches: (pattern: string, text: string) => boolean): boolean {
  const bound = (keyword: string, otherwise: number): number => (schema[keyword] as number | undefined) ?? otherwise;
  if (typeof value === "number") {
    return (
      value >= bound("minimum", -Infinity) &&
      value <= bound("maximum", Infinity) &&
      value > bound("exclusiveMinimum", -Infinity) &&
      value < bound("exclusiveMaximum", Infinity)
    );
  }
  if (typeof value !== "string") return true;
  const length = [...value].length;
  const { pattern } = schema as { pattern?: string };
  return (
    length >= bound("minLength", 0) &&
    length <= bound("maxLength", Infinity) &&
    (pattern === undefined || matches(pattern, value))
  );
}

/** Whether a value is of a type, as JSON Schema names them. */
export function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}
