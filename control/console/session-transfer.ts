import { randomBytes } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { type Authorization, isAtConsole } from "../api/authorization.ts";
import type { ApiDeps } from "../api/api-deps.ts";
import { isHttps, consoleOrigin, edgeOrigin } from "../api/origins.ts";
import { tokenDigest } from "../identity/tokens.ts";

const CODE_MS = 60_000;
/** With more, the oldest ends. */
const MOST_CODES = 1_000;
const LONGEST_FORM = 2_048;
/** A container's page, and nothing else of the edge. */
const CONTAINER_PAGE = /^\/api\/docker\/containers\/proxy\/[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\/$/i;
const PATH = "/api/users/login/hand-over";

type SessionTransferDeps = Pick<ApiDeps, "identity" | "settings" | "clock">;

/**
 * How somebody who is signed in at the console opens a container's page at the edge: the console asks for a code, which is good once and for a minute, and its page
 * posts that to the edge as a form. The edge then keeps a session without administration in the cookie `auth`, which ends with the console's.
 */
export function sessionTransferRoutes(app: FastifyInstance, { identity, settings, clock }: SessionTransferDeps, admission: Authorization): void {
  const schema = { hide: true };
  /** By the code's digest, the oldest first. */
  const codes = new Map<string, { token: string; until: number }>();

  app.post("/console/hand-over", { schema }, (request) => {
    const { token, by } = admission.caller(request);
    const edge = edgeOrigin(settings, request);
    if (!isAtConsole(request) || by !== "cookie" || token === undefined)
      throw new Fault("ROUTE_NOT_FOUND", "Only the console hands its session over.");
    if (edge === undefined)
      throw new Fault("REQUEST_INVALID", "The console does not know the edge's address: set BERTH_WEB_ROOT to its public address.");
    const [oldest] = codes.size >= MOST_CODES ? codes.keys() : [];
    if (oldest !== undefined) codes.delete(oldest);
    const code = randomBytes(32).toString("base64url");
    codes.set(tokenDigest(code), { token, until: clock.monotonic() + CODE_MS });
    return { code, action: `${edge}${PATH}` };
  });

  app.register(async (form) => {
    form.removeAllContentTypeParsers();
    form.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: LONGEST_FORM }, (_request, body, done) =>
      done(null, Object.fromEntries(new URLSearchParams(String(body)))),
    );
    form.post<{ Body: { code?: string; to?: string } }>(PATH, { config: { admits: "anyone" }, schema }, (request, reply) => {
      // No other page may sign a browser in here, as another user.
      if (isAtConsole(request) || request.headers.origin === undefined || request.headers.origin !== consoleOrigin(settings, request))
        throw new Fault(
          "ORIGIN_NOT_PERMITTED",
          `Only the console hands a session over, and ${String(request.headers.origin).slice(0, 200)} is not it; BERTH_CONSOLE_URL names its public address.`,
        );
      const { code = "", to = "" } = request.body ?? {};
      if (!CONTAINER_PAGE.test(to)) throw new Fault("REQUEST_INVALID", "The session is handed over for a container's page alone.");
      const found = codes.get(tokenDigest(code));
      codes.delete(tokenDigest(code));
      if (!found || clock.monotonic() > found.until)
        throw new Fault("TOKEN_INVALID", "The hand-over took too long: open the container again from the console.");
      const token = identity.openSessionFrom(found.token);
      const seconds = Math.floor(settings.sessionMs / 1_000);
      const secure = isHttps(settings, request) ? "; Secure" : "";
      return reply
        .header("set-cookie", `auth=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`)
        .redirect(to, 303);
    });
  });
}
