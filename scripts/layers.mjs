// @ts-check
// The rule of the rooms: imports go down, never up, never sideways between rooms of one floor.
// Reads import statements only; it knows nothing about what is imported.
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join, posix } from "node:path";

/** Every folder of src/, by floor. A room may import from rooms of lower floors, and all may import protocol. */
export const floors = [
  ["kernels", "formats", "protocol"],
  ["tensor", "tokenizer", "downloads"],
  ["model", "corpus", "hub"],
  ["train", "quantize", "engine"],
  ["serve", "evaluate", "agent"],
  ["flywheel"],
  ["cli", "studio"],
];
const shared = "protocol";

/**
 * Reads the checkout and returns one sentence for each import that breaks the rule.
 * @param {string} root
 * @returns {{ errors: string[], files: number, imports: number }}
 */
export function checkLayers(root) {
  const sources = new Map();
  for (const path of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
    if (path.endsWith(".ts"))
      sources.set(posix.join("src", path.replaceAll("\\", "/")), readFileSync(join(root, "src", path), "utf8"));
  }
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return layerErrors(sources, manifest);
}

/**
 * @param {Map<string, string>} sources text by path, as "src/model/decoder.ts"
 * @param {{ name: string, exports?: Record<string, string>, dependencies?: Record<string, string>, devDependencies?: Record<string, string> }} manifest
 */
export function layerErrors(sources, manifest) {
  /** @type {Map<string, number>} */
  const floorOf = new Map(
    floors.flatMap((rooms, floor) => rooms.map((room) => /** @type {[string, number]} */ ([room, floor]))),
  );
  const errors = [];
  let imports = 0;
  for (const [path, source] of sources) {
    const room = roomOf(path);
    const floor = floorOf.get(room);
    if (floor === undefined) {
      errors.push(`${path}: '${room}' is no room; expected one of: ${[...floorOf.keys()].join(", ")}`);
      continue;
    }
    const isTest = path.endsWith(".test.ts");
    for (const { specifier, line } of importsOf(source)) {
      imports += 1;
      const where = `${path}:${line}`;
      const target = resolveInside(path, specifier, manifest);
      if (target === undefined) {
        const problem = packageProblem(specifier, manifest, isTest);
        if (problem !== undefined) errors.push(`${where}: ${problem}`);
        continue;
      }
      if (!target.startsWith("src/")) {
        errors.push(`${where}: imports ${target}, which is outside src/`);
        continue;
      }
      const other = roomOf(target);
      const otherFloor = floorOf.get(other);
      if (other === room || other === shared) continue;
      if (otherFloor === undefined) errors.push(`${where}: imports ${target}, which is in no room`);
      else if (otherFloor > floor)
        errors.push(`${where}: ${room} (floor ${floor}) imports up from ${other} (floor ${otherFloor})`);
      else if (otherFloor === floor)
        errors.push(`${where}: ${room} imports sideways from ${other}; both are on floor ${floor}`);
    }
  }
  return { errors, files: sources.size, imports };
}

/** @param {string} path */
const roomOf = (path) => path.split("/")[1] ?? "";

/**
 * Every module named in a source: static, type-only, re-exported, dynamic, and worker files given as URLs.
 * @param {string} source
 */
export function importsOf(source) {
  const text = blankComments(source);
  const patterns = [
    /^[ \t]*(?:import|export)\b[^;"'`]*?\bfrom[ \t]*["']([^"'\n]+)["']/gm,
    /^[ \t]*import[ \t]*["']([^"'\n]+)["']/gm,
    /\bimport\(\s*["'`]([^"'`\n]+)["'`]/g,
    /\bnew URL\(\s*["'](\.[^"'\n]+\.ts)["'],\s*import\.meta\.url/g,
    /\bimport\.meta\.resolve\(\s*["'](\.[^"'\n]+)["']/g,
  ];
  return patterns
    .flatMap((pattern) => [...text.matchAll(pattern)])
    .map((match) => ({ specifier: match[1] ?? "", line: text.slice(0, match.index).split("\n").length }))
    .filter(({ specifier }) => !specifier.includes("${"));
}

/** Comments become spaces, line ends stay, strings are left alone. @param {string} source */
function blankComments(source) {
  return source.replace(
    /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (match, string) => string ?? match.replaceAll(/[^\n]/g, " "),
  );
}

/**
 * The path inside the checkout that an import means, undefined for packages.
 * @param {string} from
 * @param {string} specifier
 * @param {{ name: string, exports?: Record<string, string> }} manifest
 */
function resolveInside(from, specifier, manifest) {
  if (specifier.startsWith(".")) return posix.join(posix.dirname(from), specifier);
  if (!specifier.startsWith(`${manifest.name}/`)) return undefined;
  const target = manifest.exports?.[`.${specifier.slice(manifest.name.length)}`];
  return target === undefined ? specifier : posix.normalize(target);
}

/**
 * @param {string} specifier
 * @param {{ dependencies?: Record<string, string>, devDependencies?: Record<string, string> }} manifest
 * @param {boolean} isTest
 */
function packageProblem(specifier, manifest, isTest) {
  if (specifier.startsWith("node:")) return undefined;
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (builtinModules.includes(name)) return `write 'node:${specifier}' for Node's own '${specifier}'`;
  if (manifest.dependencies?.[name] !== undefined) return undefined;
  if (manifest.devDependencies?.[name] === undefined)
    return `imports the package '${name}', which package.json does not name`;
  return isTest ? undefined : `imports '${name}', which is a development dependency; only tests may`;
}
