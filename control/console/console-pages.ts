import type { FastifyReply, FastifyRequest } from "fastify";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { ownFile } from "../../lib/own-files.ts";
import { route, type Route } from "../api/route.ts";
import { type ConsoleSection, text } from "../api/schemas.ts";

/** Only resources of berth itself, no frames, and forms to `formAction` only. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const SAFE = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  // In a GET over plain http, only `Referer` proves that the console's own page sent it.
  "referrer-policy": "strict-origin-when-cross-origin",
  "cross-origin-opener-policy": "same-origin",
};
const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const UNBUILT = "<!doctype html><title>berth</title><p>The console has not been built. Run <code>npm run build:console</code>.";

export type ConsolePageDeps = {
  /** The sections that this server has an API for. */
  sections: readonly ConsoleSection[];
  /** Another origin that the console's forms may post to. */
  formAction?: (request: FastifyRequest) => string | undefined;
};

/** The console's page, its files, and its sections. */
export function consolePageRoutes({ sections, formAction = () => undefined }: ConsolePageDeps): Route[] {
  const common = { method: "GET", authorize: "anyone", schema: { hide: true } } as const;
  const files = readConsole();

  const sendPage = (request: FastifyRequest, reply: FastifyReply) =>
    reply
      .headers({ ...SAFE, "content-security-policy": [POLICY, formAction(request) ?? ""].join(" ").trim(), "cache-control": "no-cache" })
      .type(TYPES[".html"] ?? "")
      .send(files.get("index.html") ?? UNBUILT);

  return [
    route({ ...common, path: "/", exposeHead: true, handle: sendPage }),
    route({ ...common, path: "/console", handle: sendPage }),
    route({ ...common, path: "/console/rooms", handle: async () => ({ rooms: sections }) }),
    route({
      ...common,
      path: "/console/:file",
      schema: { hide: true, params: Type.Object({ file: text }) },
      handle: (request, reply) => {
        const { file } = request.params;
        const bytes = files.get(file);
        if (bytes === undefined) throw new Fault("ROUTE_NOT_FOUND", `The console has no file ${file.slice(0, 100)}.`);
        // Vite puts a digest of the contents into the name.
        const age = /-[\w-]{8}\.\w+$/.test(file) ? "public, max-age=31536000, immutable" : "no-cache";
        return reply
          .headers({ ...SAFE, "cache-control": age })
          .type(TYPES[extname(file)] ?? "application/octet-stream")
          .send(bytes);
      },
    }),
  ];
}

/** All files, in memory: some hundred KiB. Empty if the console has not been built. */
function readConsole(): ReadonlyMap<string, Buffer> {
  const folder = ownFile("control/console/dist");
  if (!existsSync(folder)) return new Map();
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
}
