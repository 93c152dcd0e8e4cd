import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Static, Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { isJobToken } from "../../lib/sign-in.ts";
import {
  type DockerScope,
  formatScopes,
  grantedScopes,
  isPullOnly,
  parseScopes,
  anonymousToken,
  dockerToken,
  type ScopeRights,
} from "../identity/docker-tokens.ts";
import { mayPush } from "../identity/rights.ts";
import { type JobGrant, jobRights } from "../identity/trusted-publishers.ts";
import type { User } from "../model/entities.ts";
import { errorBody, sendErrors } from "./api-error.ts";
import { clientAddress } from "./authorization.ts";
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
  password: Type.Optional(Type.String({ description: "a developer key, or the token of a CI job" })),
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
  addRoutes(app, [...dockerTokenRoutes(deps), jobSignInRoute(deps)]);
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
  const asUser = (user: User): RegistryCaller => ({
    login: user.login,
    rights: { admin: user.admin, mayPush: (repository) => mayPush(store, user, repository) },
  });
  const callerOfKey = async (request: FastifyRequest, key: string): Promise<RegistryCaller> => {
    if (!isJobToken(key)) return asUser(await authorization.withDevKey(request, key, userOf));
    const grant = await authorization.job(request, key);
    return { login: grant.user.login, rights: jobRights(store, grant), seconds: Math.min(secondsOf(grant, clock.now()), JOB_DOCKER_SECONDS) };
  };
  /** Undefined: the request shows no credential. */
  const callerOf = async (request: FastifyRequest): Promise<RegistryCaller | undefined> => {
    const key = basicPassword(request.headers.authorization);
    if (key !== undefined) return callerOfKey(request, key);
    try {
      return asUser(await authorization.developer(request, undefined));
    } catch (error) {
      if (error instanceof Fault && error.code === "TOKEN_MISSING") return undefined;
      throw error;
    }
  };
  /** Reads the rights again if a revocation came meanwhile: a token for the earlier ones would not count. */
  const unlessRevoked = async <T extends RegistryCaller | undefined>(read: () => Promise<T>): Promise<CallerRead<T>> => {
    for (let round = 1; ; round++) {
      const readOn = clock.now();
      const caller = await read();
      const retryMs = caller === undefined ? undefined : identity.revokedTokens.retryMs(caller.login, readOn);
      if (retryMs === undefined || round >= MOST_READS) return { caller, readOn };
      await clock.sleep(retryMs);
    }
  };
  const createToken = async (
    request: FastifyRequest,
    { service, scope = [] }: TokenQuery,
    { caller, readOn }: CallerRead<RegistryCaller | undefined>,
  ) => {
    if (service !== undefined && settings.reservedAudiences?.includes(service))
      throw new Fault("REQUEST_INVALID", `${JSON.stringify(service)} is not a registry.`);
    const scopes = parseScopes(scope);
    if (!caller && !isPullOnly(scopes))
      throw new Fault("TOKEN_MISSING", "Only pulling needs no key: docker login, with a developer key as the password.");
    if (!caller) return { access: [] satisfies DockerScope[], token: anonymousToken(clock) };
    const { login, rights, seconds } = caller;
    const access = await grantedScopes(scopes, rights);
    const issuer = settings.issuer ?? webRootOf(settings, request);
    const audience = service === "" ? undefined : service;
    return { access, token: await dockerToken({ signingKeys, clock }, { issuer, audience, login, access, seconds, issuedOn: readOn }) };
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
      handle: async (request) => (await createToken(request, request.query, await unlessRevoked(() => callerOf(request)))).token,
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
        const caller = await unlessRevoked(() => callerOfKey(request, password));
        // The registry passes the form on without reading it.
        const service = [request.body.service, request.query.service].find(Boolean) ?? "";
        const { token, access } = await createToken(request, { ...request.body, service }, caller);
        return { ...token, scope: formatScopes(access) };
      },
    }),
    keysAt("/docker/keys"),
    keysAt("/.well-known/jwks.json"),
  ];
}

/** Each after another revocation of the same user. */
const MOST_READS = 4;

/** `readOn`: when its rights were read, or before that; epoch ms. */
type CallerRead<T> = { caller: T; readOn: number };

type RegistryCaller = {
  login: string;
  rights: ScopeRights;
  /** How long its own credential is valid; undefined: longer than a docker token. */
  seconds?: number;
};

function secondsOf({ expiresOn }: Pick<JobGrant, "expiresOn">, now: number): number {
  return Math.max(Math.floor((expiresOn - now) / 1_000), 1);
}

/** No registry looks up whether the job may still push, so its docker tokens are short. Clients request the next one by themselves. */
const JOB_DOCKER_SECONDS = 120;

const TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const TOKEN_TYPE = "urn:ietf:params:oauth:token-type";
const EXCHANGE_FORM = Type.Object({
  grant_type: Type.String({ description: `\`${TOKEN_EXCHANGE}\`` }),
  subject_token: Type.String({ description: "the identity token of the job" }),
  subject_token_type: Type.String({ description: `\`${TOKEN_TYPE}:id_token\` or \`${TOKEN_TYPE}:jwt\`` }),
  publisher: Type.Optional(Type.String({ description: "the name of the trusted publisher, if several match the job" })),
});
const JOB_TOKEN = Type.Object({
  access_token: Type.String({ description: "in place of a developer key when publishing, or as the password of docker login" }),
  issued_token_type: text,
  token_type: text,
  expires_in: Type.Integer({ description: "seconds" }),
  publisher: text,
  login: Type.String({ description: "the author of what the job publishes" }),
  packages: Type.Array(text),
  repositories: Type.Array(text),
});

/** A CI job signs in: the exchange of OAuth 2.0 (RFC 8693). */
function jobSignInRoute({ identity, authorization, auditRecorder, clock }: RouteDeps): Route {
  return route({
    method: "POST",
    path: "/users/login/ci",
    authorize: "anyone",
    uncompressed: true,
    // What identifies the job is known only after the token is verified.
    audit: "none",
    schema: {
      tags: ["users"],
      summary: "Exchanges the identity token of a CI job for a short-lived token that publishes the packages of a trusted publisher",
      consumes: ["application/x-www-form-urlencoded"],
      body: EXCHANGE_FORM,
      response: JOB_TOKEN,
      error: TOKEN_ERROR,
    },
    handle: async (request) => {
      const { grant_type, subject_token, subject_token_type, publisher: name } = request.body;
      if (grant_type !== TOKEN_EXCHANGE) throw new Fault("GRANT_TYPE_UNSUPPORTED", `Only grant_type=${TOKEN_EXCHANGE} is supported here.`);
      if (![`${TOKEN_TYPE}:id_token`, `${TOKEN_TYPE}:jwt`].includes(subject_token_type))
        throw new Fault("REQUEST_INVALID", `subject_token_type must be ${TOKEN_TYPE}:id_token or ${TOKEN_TYPE}:jwt.`);
      const peer = clientAddress(request);
      identity.attempts.check(peer);
      const { token, grant } = await identity.publishers.exchange(subject_token, name).catch((error: unknown) => {
        if (error instanceof Fault && error.code === "TOKEN_INVALID") identity.attempts.failed(peer);
        throw error;
      });
      const { publisher, user, job } = grant;
      await authorization.job(request, token);
      await auditRecorder.append(request, { action: "jobSignedIn", target: `${publisher.name}: ${job}`, status: 200, requestId: request.id });
      return {
        access_token: token,
        issued_token_type: `${TOKEN_TYPE}:access_token`,
        token_type: "Bearer",
        expires_in: secondsOf(grant, clock.now()),
        publisher: publisher.name,
        login: user.login,
        packages: publisher.packages,
        repositories: publisher.repositories,
      };
    },
  });
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
