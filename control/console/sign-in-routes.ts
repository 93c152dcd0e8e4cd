import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { pageOf } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { headerOf, parseDevKey } from "../api/authorization.ts";

export type SignInRouteDeps = {
  /** The cookie that the session's token is kept in. */
  cookie: string;
  /** How long a browser keeps it. */
  sessionMs: number;
  /** Whether the browser came by https. */
  isSecure(request: FastifyRequest): boolean;
  /** The token of a new session for the developer key that is shown. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, and what else keeps it from being judged. */
  signIn(request: FastifyRequest, key: string | undefined, reply: FastifyReply): string | Promise<string>;
  /** Ends the session of a request that was admitted. */
  signOut(request: FastifyRequest): void;
};

/** Signing in and out of the console: the session is kept in a cookie that no script can read. */
export function signInRoutes(app: FastifyInstance, { cookie, sessionMs, isSecure, signIn, signOut }: SignInRouteDeps): void {
  const schema = { hide: true };
  /** `Strict`: the page itself needs no cookie, so a link into the console finds one signed in all the same. */
  const lines = (request: FastifyRequest, token: string, seconds: number) =>
    `${cookie}=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${isSecure(request) ? "; Secure" : ""}`;

  app.post("/console/sign-in", { config: { admits: "anyone" }, schema }, async (request, reply) => {
    requireOwnPage(request);
    const token = await signIn(request, parseDevKey(request.headers.authorization), reply);
    return reply.header("set-cookie", lines(request, token, Math.floor(sessionMs / 1_000))).send({ isSuccess: true });
  });
  app.post("/console/sign-out", { schema }, (request, reply) => {
    signOut(request);
    return reply.header("set-cookie", lines(request, "", 0)).send({ isSuccess: true });
  });
}

/** Nobody else's page signs a browser in, as whom it likes. */
function requireOwnPage(request: FastifyRequest): void {
  if (pageOf(headerOf(request.headers), []) === "foreign") throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not sign in here.");
}
