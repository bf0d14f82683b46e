// Whether the branches of a `oneOf` are told apart by something that is plain to see: their types, their values, or a tag.
import { isObject, type Schema } from "./schema-check.ts";

/**
 * Whether no value can match two of the branches, as far as can be seen at once. `root` has the definitions; every branch
 * that is looked at is counted.
 */
export function disjoint(branches: readonly unknown[], root: unknown, count: (looks: number) => void): boolean {
  count(branches.length);
  const seen = branches.map((branch) => follow(branch, root));
  const types = seen.map((branch) =>
    typeof branch?.type === "string" ? branch.type.replace("integer", "number") : undefined,
  );
  if (!types.includes(undefined) && new Set(types).size === types.length) return true;
  if (allDiffer(seen.map(fixedValues))) return true;
  const required = seen.map((branch) => new Set(Array.isArray(branch?.required) ? branch.required : []));
  const names = Object.keys(isObject(seen[0]?.properties) ? seen[0].properties : {});
  return names.some((name) => {
    count(branches.length);
    return allDiffer(
      seen.map((branch, index) =>
        required[index]!.has(name) && isObject(branch?.properties)
          ? fixedValues(follow(branch.properties[name], root))
          : undefined,
      ),
    );
  });
}

function allDiffer(values: readonly (string[] | undefined)[]): boolean {
  if (values.includes(undefined)) return false;
  const all = values.flat();
  return new Set(all).size === all.length;
}

/** What a schema says, or the definition that it refers to. */
function follow(schema: unknown, root: unknown): Schema | undefined {
  const name =
    isObject(schema) && typeof schema.$ref === "string" ? /^#\/(\$defs|definitions)\/([^/]+)$/.exec(schema.$ref) : null;
  if (!name) return isObject(schema) ? schema : undefined;
  const definitions = isObject(root) ? root[name[1]!] : undefined;
  const target = isObject(definitions) ? definitions[name[2]!] : undefined;
  return isObject(target) ? target : undefined;
}

function fixedValues(schema: Schema | undefined): string[] | undefined {
  if (schema && "const" in schema) return [JSON.stringify(schema.const)];
  return Array.isArray(schema?.enum) ? schema.enum.map((value) => JSON.stringify(value)) : undefined;
}
