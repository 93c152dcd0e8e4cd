import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { Fault } from "../../lib/fault.ts";
import { ownFile } from "../../lib/own-files.ts";

/** What the console can show; a page of the web application each. */
export type ConsoleSection = "containers" | "images" | "registry" | "stand";

/** Nothing but what berth itself serves, no frame around it, no form that leads elsewhere but to `formAction`. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const SAFE = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  // In a GET over plain http, only `Referer` shows that it comes from the console's own page.
  "referrer-policy": "strict-origin-when-cross-origin",
  "cross-origin-opener-policy": "same-origin",
};
const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const UNBUILT = "<!doctype html><title>berth</title><p>The console has not been built: <code>npm run build:console</code> does it.";

/**
 * The console's page, what it loads, and which rooms it may show: those that what serves it has an API for. `formAction` is the origin that its forms may be posted to
 * beside its own.
 */
export function consolePages(
  app: FastifyInstance,
  { rooms, formAction = () => undefined }: { rooms: readonly ConsoleSection[]; formAction?: (request: FastifyRequest) => string | undefined },
): void {
  const config = { admits: "anyone" } as const;
  const schema = { hide: true };
  const files = readConsole();

  const page = (request: FastifyRequest, reply: FastifyReply) =>
    reply
      .headers({ ...SAFE, "content-security-policy": [POLICY, formAction(request) ?? ""].join(" ").trim(), "cache-control": "no-cache" })
      .type(TYPES[".html"] ?? "")
      .send(files.get("index.html") ?? UNBUILT);
  app.get("/", { config, schema, exposeHeadRoute: true }, page);
  app.get("/console", { config, schema }, page);
  app.get("/console/rooms", { config, schema }, () => ({ rooms }));
  app.get<{ Params: { file: string } }>("/console/:file", { config, schema }, (request, reply) => {
    const { file } = request.params;
    const bytes = files.get(file);
    if (bytes === undefined) throw new Fault("ROUTE_NOT_FOUND", `The console has no file ${file.slice(0, 100)}.`);
    // Names of what Vite makes carry a digest of what is in them.
    const age = /-[\w-]{8}\.\w+$/.test(file) ? "public, max-age=31536000, immutable" : "no-cache";
    return reply
      .headers({ ...SAFE, "cache-control": age })
      .type(TYPES[extname(file)] ?? "application/octet-stream")
      .send(bytes);
  });
}

/** All of it, in memory: some hundred KiB. Empty where it was not built. */
function readConsole(): ReadonlyMap<string, Buffer> {
  const folder = ownFile("control/console/dist");
  if (!existsSync(folder)) return new Map();
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
}
