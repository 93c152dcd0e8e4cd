import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { pageOf } from "../../browser-pages.ts";
import { Fault } from "../../fault.ts";
import { ownFile } from "../../own-files.ts";
import type { Admission } from "../api/admission.ts";
import type { ApiParts } from "../api/api-parts.ts";
import { headerOf, readDevKey } from "../api/sign-in.ts";
import { forwardedScheme } from "../api/web-root.ts";

/** Nothing but what berth itself serves, no frame around it, no form that leads elsewhere. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const SAFE = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};
const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const UNBUILT = "<!doctype html><title>berth</title><p>The console has not been built: <code>npm run build:console</code> does it.";

/** The console's page and what it loads, and its sign-in, which keeps the session in a cookie that no script can read. */
export function consoleRoutes(app: FastifyInstance, { identity, settings }: Pick<ApiParts, "identity" | "settings">, admission: Admission): void {
  const config = { admits: "anyone" } as const;
  const schema = { hide: true };
  const files = readConsole();

  const page = (_request: FastifyRequest, reply: FastifyReply) =>
    reply
      .headers({ ...SAFE, "cache-control": "no-cache" })
      .type(TYPES[".html"] ?? "")
      .send(files.get("index.html") ?? UNBUILT);
  app.get("/", { config, schema, exposeHeadRoute: true }, page);
  app.get("/console", { config, schema }, page);
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

  app.post("/console/sign-in", { config, schema }, (request, reply) => {
    requireOwnPage(request);
    const token = admission.withKey(request, readDevKey(request.headers.authorization), identity.signIn);
    return reply.header("set-cookie", cookie(request, token, Math.floor(settings.sessionMs / 1_000))).send({ isSuccess: true });
  });
  app.post("/console/sign-out", { schema }, (request, reply) => {
    const { token } = admission.caller(request);
    if (token !== undefined) identity.endSession(token);
    return reply.header("set-cookie", cookie(request, "", 0)).send({ isSuccess: true });
  });
}

/** All of it, in memory: some hundred KiB. Empty where it was not built. */
function readConsole(): ReadonlyMap<string, Buffer> {
  const folder = ownFile("control/console/dist");
  if (!existsSync(folder)) return new Map();
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
}

/** `Lax`, so that a link into the console finds one signed in; what changes something asks whose page it is besides. */
function cookie(request: FastifyRequest, token: string, seconds: number): string {
  const secure = forwardedScheme(request) === "https" ? "; Secure" : "";
  return `auth=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
}

/** Nobody else's page signs a browser in, as whom it likes. */
function requireOwnPage(request: FastifyRequest): void {
  if (pageOf(headerOf(request.headers), []) === "foreign") throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not sign in here.");
}
