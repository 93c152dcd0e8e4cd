import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { LOGIN, type UserAccount } from "../identity/open-users.ts";
import type { DevKey, User } from "../model/entities.ts";
import { parseDevKey } from "./authorization.ts";
import { isoDate, userToJson } from "./entities.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { count, date, DONE, LIST_QUERY, text, USER } from "./schemas.ts";
import { decodeAgain } from "./lists.ts";

const SIGNED_IN = Type.Object({ isSuccess: Type.Boolean(), token: text });
const KEY_IN_PATH = Type.Object({ key: text });
const SIGN_IN_QUERY = Type.Object({
  administration: Type.Optional(
    Type.Boolean({
      default: false,
      description: "true: the session of an administrator has administration. For command line tools; pages and plugins do not need it",
    }),
  ),
});

/** Signing in and out. */
export function signInRoutes({ identity, store, authorization }: Pick<RouteDeps, "identity" | "store" | "authorization">): Route[] {
  const tags = ["users"];
  const signIn =
    ({ administration }: { administration?: boolean }) =>
    (key: string) =>
      identity.signIn(key, administration ? "administration" : "plain");

  return [
    route({
      method: "POST",
      path: "/users/login/dev",
      authorize: "anyone",
      audit: { action: "signedIn" },
      schema: { tags, summary: "Signs in with a developer key: Authorization: Dev <key>", querystring: SIGN_IN_QUERY, response: SIGNED_IN },
      handle: async (request) => {
        const token = await authorization.withDevKey(request, parseDevKey(request.headers.authorization), signIn(request.query));
        return { isSuccess: true, token };
      },
    }),
    route({
      method: "POST",
      path: "/users/login/dev/:key",
      authorize: "anyone",
      audit: { action: "signedIn" },
      schema: {
        tags,
        summary: "Signs in with a developer key in the path, for older clients",
        deprecated: true,
        params: KEY_IN_PATH,
        querystring: SIGN_IN_QUERY,
        response: SIGNED_IN,
      },
      handle: async (request) => {
        const token = await authorization.withDevKey(request, request.params.key, signIn(request.query));
        return { isSuccess: true, token };
      },
    }),
    route({
      method: "POST",
      path: "/users/logout",
      authorize: "session",
      audit: { action: "signedOut" },
      schema: { tags, summary: "Ends the session of the request; gateways know within 10 s", response: DONE },
      handle: async (request) => {
        const { token } = authorization.caller(request);
        if (token !== undefined) await identity.endSession(token);
        return { isSuccess: true };
      },
    }),
    route({
      method: "GET",
      path: "/users/current",
      authorize: "session",
      schema: { tags, summary: "Returns the signed-in user", response: USER },
      handle: async (request) => {
        const user = await store.users.find(authorization.caller(request).userId);
        if (!user) throw new Fault("TOKEN_INVALID", "The user of this session no longer exists.");
        return userToJson(user);
      },
    }),
  ];
}

const GROUPS = Type.Array(Type.String({ pattern: LOGIN }), {
  maxItems: 100,
  description: "users of one group manage each other's packages",
});
const ACCOUNT = Type.Object({ ...USER.properties, groups: GROUPS, keys: count });
const CHANGES = {
  friendlyName: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  admin: Type.Optional(Type.Boolean()),
  groups: Type.Optional(GROUPS),
};
const KEY = Type.Object({
  id: text,
  label: text,
  createdOn: date,
  fromSetting: Type.Boolean({ description: "it is BERTH_ADMIN_KEY, or admin.key in the data folder" }),
});
const NEW_KEY = Type.Object({ ...KEY.properties, key: Type.String({ description: "no other response contains it" }) });
const REMOVED = Type.Object({ packages: Type.Array(text, { description: "the packages of the user, which are now the caller's" }) });
const USER_PAGE = Type.Object({
  text: Type.Optional(Type.String({ description: "a word in the login or the name" })),
  limit: LIST_QUERY.properties.limit,
  page: LIST_QUERY.properties.page,
});
const OF_LOGIN = Type.Object({ login: text });

/** Users, their groups and their developer keys, for administrators; `berth users` does the same at a command line. */
export function userRoutes({ identity: { users }, authorization }: Pick<RouteDeps, "identity" | "authorization">): Route[] {
  const tags = ["users"];
  const authorize = "admin" as const;
  const target = ({ params: { login } }: { params: { login: string } }) => login;

  return [
    route({
      method: "GET",
      path: "/users",
      authorize,
      schema: { tags, summary: "Lists users", querystring: USER_PAGE, response: Type.Array(ACCOUNT) },
      handle: async ({ query: { text: word = "", limit, page = 1 } }) => {
        const named = (await users.all()).filter(({ user }) => isNamed(user, word));
        const from = limit ? (Math.max(page, 1) - 1) * limit : 0;
        return named.slice(from, limit ? from + limit : undefined).map(accountToJson);
      },
    }),
    route({
      method: "GET",
      path: "/users/count",
      authorize,
      schema: { tags, summary: "Counts the users of the list", querystring: USER_PAGE, response: count },
      handle: async ({ query: { text: word = "" } }) => (await users.all()).filter(({ user }) => isNamed(user, word)).length,
    }),
    route({
      method: "POST",
      path: "/users",
      authorize,
      audit: { action: "userAdded", target: ({ body }) => body.login },
      schema: {
        tags,
        summary: "Adds a user without a developer key",
        body: Type.Object({ login: Type.String({ pattern: LOGIN }), ...CHANGES }, { additionalProperties: false }),
        response: ACCOUNT,
      },
      handle: async ({ body: { login, ...changes } }) => accountToJson(await users.add(login, changes)),
    }),
    route({
      method: "PATCH",
      path: "/users/:login",
      authorize,
      audit: { action: "userChanged", target },
      schema: {
        tags,
        summary: "Changes the given fields; groups replace the previous ones",
        params: OF_LOGIN,
        body: Type.Object(CHANGES, { additionalProperties: false }),
        response: ACCOUNT,
      },
      handle: async ({ params, body }) => accountToJson(await users.change(params.login, body)),
    }),
    route({
      method: "DELETE",
      path: "/users/:login",
      authorize,
      audit: { action: "userRemoved", target },
      schema: {
        tags,
        summary: "Removes a user with all keys and sessions; the packages become the caller's",
        params: OF_LOGIN,
        response: REMOVED,
      },
      handle: async (request) => ({ packages: await users.remove(request.params.login, { id: authorization.caller(request).userId }) }),
    }),
    route({
      method: "GET",
      path: "/users/:login/keys",
      authorize,
      schema: { tags, summary: "Lists the developer keys of a user", params: OF_LOGIN, response: Type.Array(KEY) },
      handle: async ({ params }) => (await users.keys(params.login)).map(keyToJson),
    }),
    route({
      method: "POST",
      path: "/users/:login/keys",
      authorize,
      audit: { action: "keyMade", target },
      schema: {
        tags,
        summary: "Creates a developer key",
        params: OF_LOGIN,
        body: Type.Object({ label: Type.Optional(Type.String({ maxLength: 100 })) }, { additionalProperties: false }),
        response: NEW_KEY,
      },
      handle: async ({ params, body }) => {
        const { key, kept } = await users.addKey(params.login, body.label ?? "");
        return { ...keyToJson(kept), key };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/:login/keys/:id",
      authorize,
      audit: { action: "keyRevoked", target: ({ params }) => namedTarget(params.login, params.id) },
      schema: {
        tags,
        summary: "Revokes a developer key, and ends the sessions that it opened",
        params: Type.Object({ login: text, id: text }),
        response: DONE,
      },
      handle: async ({ params }) => {
        await users.revokeKey(params.login, params.id);
        return { isSuccess: true };
      },
    }),
  ];
}

/** Clients encode the text twice. */
function isNamed({ login, friendlyName }: User, text: string): boolean {
  const word = decodeAgain(text).trim().toLowerCase();
  return login.toLowerCase().includes(word) || friendlyName.toLowerCase().includes(word);
}

function accountToJson({ user, groups, keys }: UserAccount) {
  return { ...userToJson(user), groups, keys };
}

function keyToJson({ id, label, createdOn, fromSetting }: DevKey) {
  return { id, label, createdOn: isoDate(createdOn), fromSetting };
}
