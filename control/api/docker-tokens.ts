import type { FastifyInstance, FastifyRequest } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { grantedScopes, isPullOnly, parseScopes, formatScopes } from "../identity/docker-scopes.ts";
import { anonymousToken, dockerToken } from "../identity/signed-tokens.ts";
import { mayPush } from "../identity/rights.ts";
import type { User } from "../model/entities.ts";
import type { Authorization } from "./authorization.ts";
import { sendErrors } from "./api-error.ts";
import type { ApiDeps } from "./api-deps.ts";
import { TOKEN_ERROR, tokenError } from "./docker-token-error.ts";
import { webRootOf } from "./origins.ts";

type TokenQuery = { service?: string; scope?: string[] };
type TokenForm = TokenQuery & { grant_type: string; username?: string; password?: string };

const LARGEST_FORM = 65_536;

const text = { type: "string" } as const;
const ASKED = {
  service: { ...text, maxLength: 255, description: "the registry, as its challenge names it; becomes the token's audience" },
  scope: {
    type: "array",
    items: text,
    description: "`repository:datagrok/x:pull,push`; may be repeated, and each may hold several with spaces between",
  },
  client_id: text,
} as const;
const QUERY = {
  type: "object",
  properties: { ...ASKED, account: text, offline_token: { ...text, description: "no refresh token is given" } },
} as const;
const FORM = {
  type: "object",
  required: ["grant_type"],
  properties: {
    ...ASKED,
    grant_type: { ...text, description: "`password`" },
    username: { ...text, description: "is not looked at" },
    password: { ...text, description: "a developer key" },
    access_type: text,
  },
} as const;
const TOKEN = {
  type: "object",
  properties: {
    token: text,
    access_token: text,
    expires_in: { type: "integer", description: "seconds" },
    issued_at: { type: "string", format: "date-time" },
    scope: { ...text, description: "what was granted; only in the OAuth2 form" },
  },
} as const;
const KEYS = { type: "object", properties: { keys: { type: "array", items: { type: "object", additionalProperties: text } } } } as const;
const ANSWERS = (success: object) => ({ 200: success, "4xx": TOKEN_ERROR, "5xx": TOKEN_ERROR });

/** Tokens for the registry, and the keys to verify them with. Registered apart: errors are such that docker can show them, and a body is a form. */
export function dockerTokenRoutes(app: FastifyInstance, parts: ApiDeps, admission: Authorization): void {
  const { identity, store, settings, signingKeys, clock, log } = parts;
  const tags = ["registry"];
  const config = { admits: "anyone" } as const;

  app.setErrorHandler(sendErrors(log, tokenError));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string", bodyLimit: LARGEST_FORM }, (_request, body, done) =>
    done(null, readForm(String(body))),
  );
  app.addHook("onSend", async (_request, reply) => {
    if (reply.statusCode === 401) reply.header("www-authenticate", 'Basic realm="berth", charset="UTF-8"');
  });

  /** A developer key, or a session's token in its place, which is what containers and pages have. */
  const holder = (key: string): User => {
    try {
      return identity.userOfDevKey(key);
    } catch (error) {
      const session = identity.who(key);
      const user = session && store.users.find(session.userId);
      if (!user) throw error;
      return { ...user, admin: session.admin };
    }
  };
  /** Undefined where the request shows no credential at all. */
  const caller = (request: FastifyRequest): User | undefined => {
    const key = basicPassword(request.headers.authorization);
    if (key !== undefined) return admission.withDevKey(request, key, holder);
    try {
      return admission.developer(request, undefined);
    } catch (error) {
      if (error instanceof Fault && error.code === "TOKEN_MISSING") return undefined;
      throw error;
    }
  };
  const answer = async (request: FastifyRequest, { service, scope = [] }: TokenQuery, user: User | undefined) => {
    if (service !== undefined && settings.reservedAudiences?.includes(service))
      throw new Fault("REQUEST_INVALID", `${JSON.stringify(service)} is no registry.`);
    const asked = parseScopes(scope);
    if (!user && !isPullOnly(asked))
      throw new Fault("TOKEN_MISSING", "Only pulling needs no key: docker login, with a developer key as the password.");
    if (!user) return { access: [], token: anonymousToken(clock) };
    const access = grantedScopes(asked, { admin: user.admin, mayPush: (repository) => mayPush(store, user, repository) });
    const issuer = settings.issuer ?? webRootOf(settings, request);
    const audience = service === "" ? undefined : service;
    return { access, token: await dockerToken({ signingKeys, clock }, { issuer, audience, login: user.login, access }) };
  };

  app.get<{ Querystring: TokenQuery }>(
    "/docker/token",
    {
      config: { ...config, uncompressed: true },
      schema: {
        tags,
        summary: "A token for the registry: Authorization: Basic any:<developer key>; pulling needs none",
        querystring: QUERY,
        response: ANSWERS(TOKEN),
      },
    },
    (request) => answer(request, request.query, caller(request)).then(({ token }) => token),
  );

  app.post<{ Body: TokenForm; Querystring: Pick<TokenQuery, "service"> }>(
    "/docker/token",
    {
      config,
      schema: {
        tags,
        summary: "The same as OAuth2 clients ask it",
        consumes: ["application/x-www-form-urlencoded"],
        querystring: { type: "object", properties: { service: { ...ASKED.service, description: "where the form names none" } } },
        body: FORM,
        response: ANSWERS(TOKEN),
      },
    },
    (request) => {
      const { grant_type, password } = request.body;
      if (grant_type !== "password")
        throw new Fault("GRANT_TYPE_UNSUPPORTED", "Only grant_type=password is known here: there are no refresh tokens. Log out, and log in again.");
      if (password === undefined) throw new Fault("REQUEST_INVALID", "A password is needed, which is a developer key.");
      const user = admission.withDevKey(request, password, holder);
      // The registry that passes a form on does not look into it.
      const service = [request.body.service, request.query.service].find(Boolean) ?? "";
      return answer(request, { ...request.body, service }, user).then(({ token, access }) => ({ ...token, scope: formatScopes(access) }));
    },
  );

  for (const path of ["/docker/keys", "/.well-known/jwks.json"]) {
    app.get(
      path,
      { config, schema: { tags, summary: "The keys that tokens are verified with (JWKS); a rotated one stays", response: ANSWERS(KEYS) } },
      async (_request, reply) => {
        reply.header("cache-control", "public, max-age=60");
        return { keys: await signingKeys.published() };
      },
    );
  }
}

/** What stands after the colon; an empty one where it cannot be read, which is nobody's. */
function basicPassword(authorization: string | undefined): string | undefined {
  const [, encoded] = /^basic\s+(\S+)\s*$/i.exec(authorization ?? "") ?? [];
  if (encoded === undefined) return undefined;
  const pair = Buffer.from(encoded, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? "" : pair.slice(colon + 1);
}

function readForm(body: string): Record<string, string | string[]> {
  const form = new URLSearchParams(body);
  return { ...Object.fromEntries(form), ...(form.has("scope") ? { scope: form.getAll("scope") } : {}) };
}
