// GET /: the page to chat with and watch, one file put together from page/.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Hono } from "hono";

export function pageRoutes(app: Hono): void {
  const part = (name: string): string => readFileSync(new URL(`../page/${name}`, import.meta.url), "utf8");
  const style = `\n${part("page.css")}`;
  const script = `\n${part("page.js")}`;
  const page = part("index.html")
    .replace(/(?<=<style>)[^<]*/, () => style)
    .replace(/(?<=<script type="module">)[^<]*/, () => script);
  const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  // Nothing but the page's own script and style runs, and it talks to this server alone.
  const policy = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  app.get("/", (c) => c.html(page, 200, { "content-security-policy": policy, "x-content-type-options": "nosniff" }));
}
