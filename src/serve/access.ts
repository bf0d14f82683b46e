// Who may come in: those with a key, where there are keys.
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { errorResponse, HttpError } from "./errors.ts";

/** What needs no key: whether the server lives, and the page, which asks for the key. */
const openPaths = new Set(["/health", "/"]);

/** Answers 401 to requests without one of the keys as a bearer token or as `x-api-key`. */
export function requireKey(keys: readonly string[]): MiddlewareHandler {
  // Digests have equal lengths, so that comparing them tells nothing of a key.
  const digests = keys.map(digest);
  return async (c, next) => {
    if (keys.length === 0 || openPaths.has(c.req.path)) return next();
    const bearer = /^Bearer +(.+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    // Clients may send both, and either may be the one that is meant.
    const given = [c.req.header("x-api-key"), bearer].filter((key) => key !== undefined);
    // Every key is compared, so that the time does not tell which one was near.
    const matches = given.flatMap((key) => digests.filter((each) => timingSafeEqual(each, digest(key))));
    if (matches.length > 0) return next();
    const message =
      given.length === 0
        ? "This server wants an API key, as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        : "The API key is none of this server's.";
    return errorResponse(
      new HttpError(401, message, { type: "authentication_error", code: "invalid_api_key" }),
      c.req.path,
    );
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
