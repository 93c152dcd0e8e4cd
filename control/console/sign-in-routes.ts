import type { FastifyReply, FastifyRequest } from "fastify";
import { pageOf } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { headerOf, parseDevKey } from "../api/authorization.ts";
import { route, type Route } from "../api/route.ts";

export type SignInRouteDeps = {
  /** The name of the cookie with the session's token. */
  cookie: string;
  /** The lifetime of the cookie. */
  sessionMs: number;
  /** Whether the browser uses https. */
  isSecure(request: FastifyRequest): boolean;
  /** The token of a new session for a developer key. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, and those of the server that verifies the key. */
  signIn(request: FastifyRequest, key: string | undefined, reply: FastifyReply): Promise<string>;
  /** Ends the session of an authorized request. */
  signOut(request: FastifyRequest): void | Promise<void>;
};

/** Signing in and out of the console: the session is in a cookie that no script can read. */
export function consoleSignInRoutes({ cookie, sessionMs, isSecure, signIn, signOut }: SignInRouteDeps): Route[] {
  const schema = { hide: true };
  /** `Strict`: the page itself needs no cookie, so a link to the console still finds the user signed in. */
  const cookieLine = (request: FastifyRequest, token: string, seconds: number) =>
    `${cookie}=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${isSecure(request) ? "; Secure" : ""}`;

  return [
    route({
      method: "POST",
      path: "/console/sign-in",
      authorize: "anyone",
      audit: { action: "signedIn" },
      schema,
      handle: async (request, reply) => {
        requireOwnPage(request);
        const token = await signIn(request, parseDevKey(request.headers.authorization), reply);
        reply.header("set-cookie", cookieLine(request, token, Math.floor(sessionMs / 1_000)));
        return { isSuccess: true };
      },
    }),
    route({
      method: "POST",
      path: "/console/sign-out",
      authorize: "session",
      audit: { action: "signedOut" },
      schema,
      handle: async (request, reply) => {
        await signOut(request);
        reply.header("set-cookie", cookieLine(request, "", 0));
        return { isSuccess: true };
      },
    }),
  ];
}

/** No page of another origin may sign a browser in, as a user of its choice. */
function requireOwnPage(request: FastifyRequest): void {
  if (pageOf(headerOf(request.headers), []) === "foreign") throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not sign in here.");
}
