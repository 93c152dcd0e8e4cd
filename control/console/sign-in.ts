import { randomBytes } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { decodeJwt } from "jose";
import { pageOf } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import { Type } from "typebox";
import { clientAddress, CONSOLE_COOKIE, headerOf, isAtConsole, parseDevKey } from "../api/authorization.ts";
import { PROVIDER_ID, providerOfSealed, recordOidcSignIn, requireProvider } from "../api/oidc.ts";
import { consoleOrigin, edgeOrigin, isHttps, ownConsoleOrigin } from "../api/origins.ts";
import { addRoutes, route, type Route, type RouteDeps } from "../api/route.ts";
import { DEFAULT_PROVIDER } from "../identity/oidc-provider.ts";
import type { OidcSignIn } from "../identity/oidc-sign-in.ts";
import { isSameIssuer } from "../identity/open-users.ts";
import { tokenDigest } from "../identity/sessions.ts";

const CODE_MS = 60_000;
/** With more, the oldest becomes invalid. */
const MOST_CODES = 1_000;
const LONGEST_FORM = 2_048;
/** The page of a container, and nothing else of the edge. */
const CONTAINER_PAGE = /^\/api\/docker\/containers\/proxy\/[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\/$/i;
const EDGE_PATH = "/api/users/login/hand-over";

export type SessionTransferDeps = Pick<RouteDeps, "identity" | "settings" | "clock" | "authorization">;

/**
 * Opens a container's page at the edge for a user of the console. The console requests a code, which is valid once and for a minute, and its page posts the code
 * to the edge as a form. The edge then opens a session without administration in the cookie `auth`, which ends with the console's session.
 */
export function addSessionTransfer(app: FastifyInstance, { identity, settings, clock, authorization }: SessionTransferDeps): void {
  const schema = { hide: true };
  /** By the digest of the code, the oldest first. */
  const codes = new Map<string, { token: string; until: number }>();

  const createCode = route({
    method: "POST",
    path: "/console/hand-over",
    authorize: "session",
    // The user is signed in already.
    audit: "none",
    schema,
    handle: async (request) => {
      const { token, by } = authorization.caller(request);
      const edge = edgeOrigin(settings, request);
      if (!isAtConsole(request) || by !== "cookie" || token === undefined)
        throw new Fault("ROUTE_NOT_FOUND", "Only the console transfers its session.");
      if (edge === undefined)
        throw new Fault("REQUEST_INVALID", "The console does not know the address of the edge: set BERTH_WEB_ROOT to its public address.");
      const [oldest] = codes.size >= MOST_CODES ? codes.keys() : [];
      if (oldest !== undefined) codes.delete(oldest);
      const code = randomBytes(32).toString("base64url");
      codes.set(tokenDigest(code), { token, until: clock.monotonic() + CODE_MS });
      return { code, action: `${edge}${EDGE_PATH}` };
    },
  });

  const openSession = route({
    method: "POST",
    path: EDGE_PATH,
    authorize: "anyone",
    // The user is signed in already.
    audit: "none",
    schema,
    handle: async (request, reply) => {
      // No other page may sign a browser in here as another user.
      if (isAtConsole(request) || request.headers.origin === undefined || request.headers.origin !== consoleOrigin(settings, request))
        throw new Fault(
          "ORIGIN_NOT_PERMITTED",
          `Only the console transfers a session, and ${String(request.headers.origin).slice(0, 200)} is another origin. BERTH_CONSOLE_URL sets the console's public address.`,
        );
      const { code = "", to = "" } = (request.body ?? {}) as { code?: string; to?: string };
      if (!CONTAINER_PAGE.test(to)) throw new Fault("REQUEST_INVALID", "A session is transferred to the page of a container only.");
      const transfer = codes.get(tokenDigest(code));
      codes.delete(tokenDigest(code));
      if (!transfer || clock.monotonic() > transfer.until)
        throw new Fault("TOKEN_INVALID", "The transfer of the session took too long: open the container again from the console.");
      const token = await identity.openSessionFrom(transfer.token);
      const seconds = Math.floor(settings.sessionMs / 1_000);
      const secure = isHttps(settings, request) ? "; Secure" : "";
      return reply
        .header("set-cookie", `auth=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`)
        .redirect(to, 303);
    },
  });

  addRoutes(app, [createCode]);
  app.register(async (form) => {
    form.removeAllContentTypeParsers();
    form.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: LONGEST_FORM }, (_request, body, done) =>
      done(null, Object.fromEntries(new URLSearchParams(String(body)))),
    );
    addRoutes(form, [openSession]);
  });
}

/** Where the browser signs out at the provider `name`, and the `state` with which it is sent back. */
export type ProviderSignOut = { name: string; url: string; state: string };

export type SignInRouteDeps = {
  /** The name of the cookie with the session's token. */
  cookie: string;
  /** The lifetime of the cookie. */
  sessionMs: number;
  /** Whether the browser uses https. */
  isSecure(request: FastifyRequest): boolean;
  /** The token of a new session for a developer key. Faults: DEV_KEY_INVALID, TOO_MANY_ATTEMPTS, and those of the server that verifies the key. */
  signIn(request: FastifyRequest, key: string | undefined, reply: FastifyReply): Promise<string>;
  /** Ends the session of an authorized request. Returns where the browser goes next. */
  signOut(request: FastifyRequest): void | Promise<ProviderSignOut | undefined>;
};

/** Signing in and out of the console: the session is in a cookie that no script can read. */
export function consoleSignInRoutes({ cookie, sessionMs, isSecure, signIn, signOut }: SignInRouteDeps): Route[] {
  const schema = { hide: true };
  const cookieLine = (request: FastifyRequest, token: string, seconds: number) => sessionCookie(cookie, token, seconds, isSecure(request));

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
        const atProvider = await signOut(request);
        reply.header("set-cookie", cookieLine(request, "", 0));
        return { isSuccess: true, ...(atProvider ? { atProvider } : {}) };
      },
    }),
  ];
}

/** Where the first provider sends the browser back to: a page of the console, which finishes the sign-in. Each further provider has an address below it. */
const OIDC_CALLBACK = "/console/signed-in";

export function oidcCallback({ id }: Pick<OidcSignIn, "id">): string {
  return id === DEFAULT_PROVIDER ? OIDC_CALLBACK : `${OIDC_CALLBACK}/${id}`;
}

const LONGEST_QUERY = 16_384;
const FINISH_BODY = Type.Object(
  {
    sealed: Type.String({ maxLength: LONGEST_QUERY, description: "as the response that began the sign-in" }),
    path: Type.String({ maxLength: 100, description: "of the address that the provider sent the browser back to" }),
    search: Type.String({ maxLength: LONGEST_QUERY, description: "the query of that address" }),
  },
  { additionalProperties: false },
);

/**
 * Sign-in at the provider. What finishes a sign-in is kept by the page that began it, in the storage of its origin: a cookie could be replaced by pages of containers,
 * which share the host name, and a browser would be signed in as a user of their choice.
 */
export function consoleOidcRoutes({ oidc, settings, authorization, auditRecorder, clock }: RouteDeps): Route[] {
  const common = { method: "POST", authorize: "anyone", audit: "none", uncompressed: true } as const;
  return [
    route({
      ...common,
      path: "/console/sign-in/begin",
      schema: { hide: true, querystring: Type.Object({ provider: Type.Optional(PROVIDER_ID) }) },
      handle: async (request) => {
        requireOwnPage(request);
        const provider = requireProvider(oidc, request.query.provider);
        return provider.begin(`${ownConsoleOrigin(settings, request)}${oidcCallback(provider)}`);
      },
    }),
    route({
      ...common,
      path: "/console/sign-in/finish",
      schema: { hide: true, body: FINISH_BODY },
      handle: async (request, reply) => {
        requireOwnPage(request);
        const session = await providerOfSealed(oidc, request.body.sealed).finish(request.body, clientAddress(request));
        await recordOidcSignIn({ authorization, auditRecorder }, request, session);
        const seconds = Math.floor((session.expiresOn - clock.now()) / 1_000);
        reply.header("set-cookie", sessionCookie(CONSOLE_COOKIE, session.token, seconds, isHttps({ webRoot: settings.console?.url }, request)));
        return { isSuccess: true };
      },
    }),
  ];
}

/** To it, providers report that sessions of theirs have ended. It is one for all: the reports name their issuers. */
const REPORT_PATH = "/console/back-channel-logout";

/** Back-Channel Logout 1.0: a request of the provider's server, which is no browser and has no cookie. */
export function addBackChannelLogout(app: FastifyInstance, { oidc = [], authorization, auditRecorder }: RouteDeps): void {
  if (oidc.length === 0) return;
  const receive = route({
    method: "POST",
    path: REPORT_PATH,
    authorize: "anyone",
    // Which users it is about is known only then.
    audit: "none",
    schema: { hide: true },
    handle: async (request, reply) => {
      reply.header("cache-control", "no-store");
      const { logout_token: token = "" } = (request.body ?? {}) as { logout_token?: string };
      const issuer = issuerOf(token);
      const provider = oidc.find((one) => isSameIssuer(one.issuer, issuer));
      if (!provider) throw new Fault("REQUEST_INVALID", "The logout token is of none of the sign-in providers.");
      for (const { id, login } of await provider.endReported(token, clientAddress(request))) {
        authorization.recordSignIn(request, { userId: id, login, by: "oidc" });
        await auditRecorder.append(request, { action: "signedOut", target: login, status: 200, requestId: request.id });
      }
      return { isSuccess: true };
    },
  });
  app.register(async (form) => {
    form.removeAllContentTypeParsers();
    form.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: LONGEST_QUERY }, (_request, body, done) =>
      done(null, Object.fromEntries(new URLSearchParams(String(body)))),
    );
    addRoutes(form, [receive]);
  });
}

/** Not verified yet. */
function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

/** Ends a session of the console, and then begins the sign-out at the provider where it began. */
export async function signOutOfConsole(
  { oidc = [], identity, store, settings }: Pick<RouteDeps, "oidc" | "identity" | "store" | "settings">,
  request: FastifyRequest,
  token: string,
): Promise<ProviderSignOut | undefined> {
  const ended = oidc.length === 0 ? undefined : await store.providerSessions.find(tokenDigest(token));
  await identity.endSession(token);
  const provider = ended && oidc.find(({ issuer }) => isSameIssuer(issuer, ended.issuer));
  // The address of the sign-in is allowed at the provider already.
  const begun = provider && (await provider.beginSignOut(ended, `${ownConsoleOrigin(settings, request)}${oidcCallback(provider)}`));
  return begun && { name: provider.name, ...begun };
}

/** `Strict`: the page itself needs no cookie, so a link to the console still finds the user signed in. */
function sessionCookie(name: string, token: string, seconds: number, isSecure: boolean): string {
  return `${name}=${encodeURIComponent(token)}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${isSecure ? "; Secure" : ""}`;
}

/** No page of another origin may sign a browser in, as a user of its choice. */
function requireOwnPage(request: FastifyRequest): void {
  if (pageOf(headerOf(request.headers), []) === "foreign") throw new Fault("ORIGIN_NOT_PERMITTED", "A page of another origin may not sign in here.");
}
