import type { FastifyInstance } from "fastify";
import { Fault } from "../../lib/fault.ts";
import { type Authorization, parseDevKey } from "./authorization.ts";
import type { ApiDeps } from "./api-deps.ts";
import { userToJson } from "./entity-json.ts";
import { responses, USER } from "./schemas.ts";

const SIGNED_IN = { type: "object", properties: { isSuccess: { type: "boolean" }, token: { type: "string" } } } as const;
const SIGNED_OUT = { type: "object", properties: { isSuccess: { type: "boolean" } } } as const;
const KEY_PARAMS = { type: "object", properties: { key: { type: "string" } }, required: ["key"] } as const;

const LOGIN_QUERY = {
  type: "object",
  properties: {
    administration: {
      type: "boolean",
      default: false,
      description: "true: an administrator's session has the rights of one. Ask for it in command line tools; a page or a plugin does not need it",
    },
  },
} as const;

type LoginQuery = { administration: boolean };

/** Signing in and out; what admins do with users stands in people-routes.ts. */
export function userRoutes(app: FastifyInstance, { identity, store }: ApiDeps, admission: Authorization): void {
  const tags = ["users"];
  const config = { admits: "anyone" } as const;
  const signedIn = (token: string) => ({ isSuccess: true, token });
  const signIn =
    ({ query: { administration } }: { query: LoginQuery }) =>
    (key: string) =>
      identity.signIn(key, administration ? "administration" : "plain");

  app.post<{ Querystring: LoginQuery }>(
    "/users/login/dev",
    {
      config,
      schema: { tags, summary: "Signs in with a developer key: Authorization: Dev <key>", querystring: LOGIN_QUERY, response: responses(SIGNED_IN) },
    },
    (request) => signedIn(admission.withDevKey(request, parseDevKey(request.headers.authorization), signIn(request))),
  );

  app.post<{ Params: { key: string }; Querystring: LoginQuery }>(
    "/users/login/dev/:key",
    {
      config,
      schema: {
        tags,
        summary: "The same, for older clients",
        deprecated: true,
        params: KEY_PARAMS,
        querystring: LOGIN_QUERY,
        response: responses(SIGNED_IN),
      },
    },
    (request) => signedIn(admission.withDevKey(request, request.params.key, signIn(request))),
  );

  app.post(
    "/users/logout",
    { schema: { tags, summary: "Ends the session that the request shows; gateways know within 10 s", response: responses(SIGNED_OUT) } },
    (request) => {
      const { token } = admission.caller(request);
      if (token !== undefined) identity.endSession(token);
      return { isSuccess: true };
    },
  );

  app.get("/users/current", { schema: { tags, summary: "Who is signed in", response: responses(USER) } }, (request) => {
    const user = store.users.find(admission.caller(request).userId);
    if (!user) throw new Fault("TOKEN_INVALID", "The session's user is gone.");
    return userToJson(user);
  });
}
