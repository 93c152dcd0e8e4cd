import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { type DockerScope, formatScopes, grantedScopes, isPullOnly, parseScopes, anonymousToken, dockerToken } from "../identity/docker-tokens.ts";
import { mayPush } from "../identity/rights.ts";
import type { User } from "../model/entities.ts";
import { errorBody, sendErrors } from "./api-error.ts";
import { webRootOf } from "./origins.ts";
import { addRoutes, route, type Route, type RouteDeps } from "./route.ts";
import { API_ERROR, date, mapOf, text, DONE, SIGNING_KEY } from "./schemas.ts";
import type { SigningKeyInfo } from "../identity/signing-keys.ts";
import { isoDate } from "./entities.ts";

type TokenQuery = { service?: string; scope?: string[] };

const LARGEST_FORM = 65_536;

const SERVICE = Type.String({ maxLength: 255, description: "the registry, as its challenge names it; the audience of the token" });
const REQUESTED = {
  service: Type.Optional(SERVICE),
  scope: Type.Optional(
    Type.Array(text, { description: "`repository:datagrok/x:pull,push`; may be repeated, and each may contain several with spaces between" }),
  ),
  client_id: Type.Optional(text),
};
const QUERY = Type.Object({
  ...REQUESTED,
  account: Type.Optional(text),
  offline_token: Type.Optional(Type.String({ description: "ignored: there are no refresh tokens" })),
});
const FORM = Type.Object({
  grant_type: Type.String({ description: "`password`" }),
  ...REQUESTED,
  username: Type.Optional(Type.String({ description: "ignored" })),
  password: Type.Optional(Type.String({ description: "a developer key" })),
  access_type: Type.Optional(text),
});
const TOKEN = Type.Object({
  token: text,
  access_token: text,
  expires_in: Type.Integer({ description: "seconds" }),
  issued_at: date,
  scope: Type.Optional(Type.String({ description: "the granted scopes; only in the OAuth2 form" })),
});
const KEYS = Type.Object({ keys: Type.Array(mapOf(text)) });
/**
 * One error that each kind of client can show: `errors` is for docker and other clients of registries, `error` for OAuth2 clients (RFC 6749 §5.2), the rest
 * for clients of this API.
 */
const TOKEN_ERROR = Type.Object({
  ...API_ERROR.properties,
  errors: Type.Array(Type.Object({ code: text, message: text })),
  error: text,
  error_description: text,
});

/** Registered in a scope of their own: errors are such that docker can show them, and a body is a form. */
export function addDockerTokenRoutes(app: FastifyInstance, deps: RouteDeps): void {
  app.setErrorHandler(sendErrors(deps.log, tokenError));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: LARGEST_FORM }, (_request, body, done) =>
    done(null, parseForm(String(body))),
  );
  app.addHook("onSend", async (_request, reply) => {
    if (reply.statusCode === 401) reply.header("www-authenticate", 'Basic realm="berth", charset="UTF-8"');
  });
  addRoutes(app, dockerTokenRoutes(deps));
}

/** Tokens for the registry, and the keys that verify them. */
function dockerTokenRoutes({ identity, store, settings, signingKeys, clock, authorization }: RouteDeps): Route[] {
  const tags = ["registry"];

  /** By a developer key, or by the token of a session, which containers and pages have instead. */
  const userOf = async (key: string): Promise<User> => {
    try {
      return await identity.userOfDevKey(key);
    } catch (error) {
      const session = await identity.who(key);
      const user = session && (await store.users.find(session.userId));
      if (!user) throw error;
      return { ...user, admin: session.admin };
    }
  };
  /** Undefined: the request shows no credential. */
  const callerOf = async (request: FastifyRequest): Promise<User | undefined> => {
    const key = basicPassword(request.headers.authorization);
    if (key !== undefined) return authorization.withDevKey(request, key, userOf);
    try {
      return await authorization.developer(request, undefined);
    } catch (error) {
      if (error instanceof Fault && error.code === "TOKEN_MISSING") return undefined;
      throw error;
    }
  };
  const createToken = async (request: FastifyRequest, { service, scope = [] }: TokenQuery, user: User | undefined) => {
    if (service !== undefined && settings.reservedAudiences?.includes(service))
      throw new Fault("REQUEST_INVALID", `${JSON.stringify(service)} is not a registry.`);
    const scopes = parseScopes(scope);
    if (!user && !isPullOnly(scopes))
      throw new Fault("TOKEN_MISSING", "Only pulling needs no key: docker login, with a developer key as the password.");
    if (!user) return { access: [] satisfies DockerScope[], token: anonymousToken(clock) };
    const access = await grantedScopes(scopes, { admin: user.admin, mayPush: (repository) => mayPush(store, user, repository) });
    const issuer = settings.issuer ?? webRootOf(settings, request);
    const audience = service === "" ? undefined : service;
    return { access, token: await dockerToken({ signingKeys, clock }, { issuer, audience, login: user.login, access }) };
  };

  const keysAt = (path: string) =>
    route({
      method: "GET",
      path,
      authorize: "anyone",
      schema: { tags, summary: "Returns the keys that verify tokens (JWKS), rotated ones included", response: KEYS, error: TOKEN_ERROR },
      handle: async (_request, reply) => {
        reply.header("cache-control", "public, max-age=60");
        return { keys: await signingKeys.published() };
      },
    });

  return [
    route({
      method: "GET",
      path: "/docker/token",
      authorize: "anyone",
      uncompressed: true,
      schema: {
        tags,
        summary: "Returns a token for the registry: Authorization: Basic any:<developer key>; pulling needs no key",
        querystring: QUERY,
        response: TOKEN,
        error: TOKEN_ERROR,
      },
      handle: async (request) => (await createToken(request, request.query, await callerOf(request))).token,
    }),
    route({
      method: "POST",
      path: "/docker/token",
      authorize: "anyone",
      // Every pull requests a token. The log records what is pushed with one.
      audit: "none",
      schema: {
        tags,
        summary: "Returns a token for the registry to OAuth2 clients",
        consumes: ["application/x-www-form-urlencoded"],
        querystring: Type.Object({
          service: Type.Optional(Type.String({ maxLength: 255, description: "used if the form has none" })),
        }),
        body: FORM,
        response: TOKEN,
        error: TOKEN_ERROR,
      },
      handle: async (request) => {
        const { grant_type, password } = request.body;
        if (grant_type !== "password")
          throw new Fault("GRANT_TYPE_UNSUPPORTED", "Only grant_type=password is supported, without refresh tokens. Log out, and log in again.");
        if (password === undefined) throw new Fault("REQUEST_INVALID", "The password is missing: send a developer key.");
        const user = await authorization.withDevKey(request, password, userOf);
        // The registry passes the form on without reading it.
        const service = [request.body.service, request.query.service].find(Boolean) ?? "";
        const { token, access } = await createToken(request, { ...request.body, service }, user);
        return { ...token, scope: formatScopes(access) };
      },
    }),
    keysAt("/docker/keys"),
    keysAt("/.well-known/jwks.json"),
  ];
}

/** By status: the code of the registry's protocol, and the error of OAuth2. */
const TOKEN_ERROR_CODES: Readonly<Record<number, readonly [registry: string, oauth: string]>> = {
  400: ["UNSUPPORTED", "invalid_request"],
  401: ["UNAUTHORIZED", "invalid_grant"],
  403: ["DENIED", "access_denied"],
  429: ["TOOMANYREQUESTS", "temporarily_unavailable"],
};

function tokenError(fault: Fault): Static<typeof TOKEN_ERROR> {
  const [code, word] = TOKEN_ERROR_CODES[fault.status] ?? ["UNAVAILABLE", "server_error"];
  const error = fault.code === "GRANT_TYPE_UNSUPPORTED" ? "unsupported_grant_type" : word;
  return { ...errorBody(fault), errors: [{ code, message: fault.message }], error, error_description: fault.message };
}

/** The password after the colon; empty, and so invalid, if the header is malformed. */
function basicPassword(authorization: string | undefined): string | undefined {
  const [, encoded] = /^basic\s+(\S+)\s*$/i.exec(authorization ?? "") ?? [];
  if (encoded === undefined) return undefined;
  const pair = Buffer.from(encoded, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? "" : pair.slice(colon + 1);
}

function parseForm(body: string): Record<string, string | string[]> {
  const form = new URLSearchParams(body);
  return { ...Object.fromEntries(form), ...(form.has("scope") ? { scope: form.getAll("scope") } : {}) };
}

/** The keys that sign docker tokens, for administrators; `berth keys` does the same at a command line. */
export function signingKeyRoutes({ signingKeys }: Pick<RouteDeps, "signingKeys">): Route[] {
  const tags = ["registry"];

  return [
    route({
      method: "GET",
      path: "/admin/keys",
      authorize: "admin",
      schema: { tags, summary: "Lists the published keys", response: Type.Array(SIGNING_KEY) },
      handle: async () => (await signingKeys.all()).map(keyToJson),
    }),
    route({
      method: "POST",
      path: "/admin/keys/rotate",
      authorize: "admin",
      audit: { action: "signingKeyRotated" },
      schema: {
        tags,
        summary: "Creates a key, which signs from now on; the previous one stays published for half an hour",
        response: Type.Object({ kid: text }),
      },
      handle: () => signingKeys.rotate(),
    }),
    route({
      method: "DELETE",
      path: "/admin/keys/:kid",
      authorize: "admin",
      audit: { action: "signingKeyRevoked", target: ({ params }) => params.kid },
      schema: { tags, summary: "Revokes a key: tokens that it signed become invalid", params: Type.Object({ kid: text }), response: DONE },
      handle: async ({ params }) => {
        await signingKeys.revoke(params.kid);
        return { isSuccess: true };
      },
    }),
  ];
}

function keyToJson({ kid, createdOn, retiredOn, publishedUntil }: SigningKeyInfo) {
  return {
    kid,
    createdOn: isoDate(createdOn),
    signs: retiredOn === undefined,
    publishedUntil: publishedUntil === undefined ? null : isoDate(publishedUntil),
  };
}
