// The keywords of JSON Schema that constrained decoding knows, by what they look at, and the formats that it can guarantee.

/** These say nothing about what is valid. */
export const annotations = new Set(
  (
    "$schema $id $anchor $comment $defs definitions title description default example examples deprecated readOnly " +
    "writeOnly contentEncoding contentMediaType"
  ).split(" "),
);
export const typeKeywords: Record<string, readonly string[]> = {
  object: [
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
  ],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["pattern", "minLength", "maxLength", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
};

/** Keywords that are checked for each value of an `enum`. */
export const besideValues = new Set([
  "const",
  "enum",
  "type",
  "minLength",
  "maxLength",
  "pattern",
  ...typeKeywords.number!,
]);

const day = String.raw`\d{4}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)`;
const time = String.raw`([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)`;
/** Formats that can be guaranteed, as patterns of the whole string; each is a part of what the format allows. */
export const formats: Record<string, string> = {
  date: day,
  time,
  "date-time": `(${day})T(${time})`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  email: "[A-Za-z0-9]([A-Za-z0-9_+-]|\\.[A-Za-z0-9_+-]){0,62}@[A-Za-z0-9]+(-[A-Za-z0-9]+)*(\\.[a-z]{2,12}){1,3}",
  ipv4: "((25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)",
};
