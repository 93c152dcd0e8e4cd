import { Type } from "typebox";
import { Fault } from "../../lib/fault.ts";
import { LOGIN, MOST_GROUPS, type UserAccount } from "../identity/open-users.ts";
import type { UserFilter } from "../store/users.ts";
import { NEW_KEY_BODY, rangeOf } from "./accounts.ts";
import { clientAddress, parseDevKey } from "./authorization.ts";
import { isoDate, keyToJson, userToJson } from "./entities.ts";
import type { OidcSignIn } from "../identity/oidc-sign-in.ts";
import { isSameIssuer } from "../identity/open-users.ts";
import { PROVIDER_ID, requireProvider } from "./oidc.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { count, DONE, LIST_QUERY, text } from "./schemas.ts";
import { ACCOUNT, ACCOUNT_ROWS, DEVELOPER_KEY, NEW_DEVELOPER_KEY, OWN_USER, PAGE_QUERY } from "./schemas-accounts.ts";
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
    ({ administration }: { administration?: boolean }, address: string | undefined) =>
    (key: string) =>
      identity.signIn(key, administration ? "administration" : "plain", address);

  return [
    route({
      method: "POST",
      path: "/users/login/dev",
      authorize: "anyone",
      audit: { action: "signedIn" },
      schema: { tags, summary: "Signs in with a developer key: Authorization: Dev <key>", querystring: SIGN_IN_QUERY, response: SIGNED_IN },
      handle: async (request) => {
        const token = await authorization.withDevKey(
          request,
          parseDevKey(request.headers.authorization),
          signIn(request.query, clientAddress(request)),
        );
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
        const token = await authorization.withDevKey(request, request.params.key, signIn(request.query, clientAddress(request)));
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
      authorize: "publisher",
      schema: { tags, summary: "Returns the signed-in user", response: OWN_USER },
      handle: async (request) => {
        const user = await store.users.find(authorization.caller(request).userId);
        if (!user) throw new Fault("TOKEN_INVALID", "The user of this session no longer exists.");
        return { ...userToJson(user), groups: await store.groups.ofUser(user.id) };
      },
    }),
  ];
}

const GROUPS = Type.Array(Type.String({ pattern: LOGIN }), {
  maxItems: MOST_GROUPS,
  description: "users of one group manage each other's packages",
});
const CHANGES = {
  friendlyName: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  admin: Type.Optional(Type.Boolean()),
  groups: Type.Optional(GROUPS),
};
const REMOVED = Type.Object({ packages: Type.Array(text, { description: "the packages of the user, which are now the caller's" }) });
const USER_PAGE = Type.Object({
  text: Type.Optional(Type.String({ description: "a word in the login or the name" })),
  limit: LIST_QUERY.properties.limit,
  page: LIST_QUERY.properties.page,
  group: Type.Optional(Type.String({ description: "only members of this group" })),
});
/** Without a limit, the list has all users. */
const MOST_USERS = 1_000_000;
const OF_LOGIN = Type.Object({ login: text });

/** Users, their groups and their developer keys, for administrators; `berth users` does the same at a command line. */
export function userRoutes({ identity: { users }, oidc, authorization }: Pick<RouteDeps, "identity" | "oidc" | "authorization">): Route[] {
  const tags = ["users"];
  const authorize = "admin" as const;
  const accountToJson = accountJsonWith(oidc ?? []);
  const target = ({ params: { login } }: { params: { login: string } }) => login;

  return [
    route({
      method: "GET",
      path: "/users",
      authorize,
      schema: { tags, summary: "Lists users", querystring: USER_PAGE, response: Type.Array(ACCOUNT) },
      handle: async ({ query: { limit, page = 1, ...filter } }) => {
        const all = limit ?? 0;
        const range = all === 0 ? { limit: MOST_USERS, offset: 0 } : { limit: all, offset: (Math.max(page, 1) - 1) * all };
        return (await users.page(filterOf(filter), range)).map(accountToJson);
      },
    }),
    route({
      method: "GET",
      path: "/users/count",
      authorize,
      schema: { tags, summary: "Counts the users of the list", querystring: USER_PAGE, response: count },
      handle: async ({ query }) => users.count(filterOf(query)),
    }),
    route({
      method: "GET",
      path: "/admin/users",
      authorize,
      schema: {
        tags,
        summary: "Lists a page of users, and counts all",
        querystring: Type.Object({ ...PAGE_QUERY.properties, group: USER_PAGE.properties.group }),
        response: ACCOUNT_ROWS,
      },
      handle: async ({ query: { text, group, ...query } }) => ({
        total: await users.count({ text, group }),
        rows: (await users.page({ text, group }, rangeOf(query))).map(accountToJson),
      }),
    }),
    route({
      method: "GET",
      path: "/admin/users/:login",
      authorize,
      schema: { tags, summary: "Returns a user", params: OF_LOGIN, response: ACCOUNT },
      handle: async ({ params }) => accountToJson(await users.find(params.login)),
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
      method: "PUT",
      path: "/users/:login/block",
      authorize,
      audit: { action: "userBlocked", target },
      schema: { tags, summary: "Blocks a user: all sessions end, and no key is valid", params: OF_LOGIN, response: ACCOUNT },
      handle: async (request) => accountToJson(await users.block(request.params.login, { id: authorization.caller(request).userId })),
    }),
    route({
      method: "DELETE",
      path: "/users/:login/block",
      authorize,
      audit: { action: "userUnblocked", target },
      schema: { tags, summary: "Unblocks a user: the keys are valid again", params: OF_LOGIN, response: ACCOUNT },
      handle: async ({ params }) => accountToJson(await users.unblock(params.login)),
    }),
    route({
      method: "PUT",
      path: "/users/:login/subject",
      authorize,
      audit: { action: "userLinked", target },
      schema: {
        tags,
        summary: "Links a user to a subject of a sign-in provider, who signs in as this user from then on",
        params: OF_LOGIN,
        body: Type.Object(
          { subject: Type.String({ minLength: 1, maxLength: 255 }), provider: Type.Optional(PROVIDER_ID) },
          { additionalProperties: false },
        ),
        response: ACCOUNT,
      },
      handle: async ({ params, body: { subject, provider } }) =>
        accountToJson(await users.link(params.login, { issuer: requireProvider(oidc, provider).issuer, subject })),
    }),
    route({
      method: "DELETE",
      path: "/users/:login/subject",
      authorize,
      audit: { action: "userUnlinked", target },
      schema: { tags, summary: "Unlinks a user from the sign-in provider", params: OF_LOGIN, response: ACCOUNT },
      handle: async ({ params }) => accountToJson(await users.link(params.login, undefined)),
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
      schema: { tags, summary: "Lists the developer keys of a user", params: OF_LOGIN, response: Type.Array(DEVELOPER_KEY) },
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
        body: NEW_KEY_BODY,
        response: NEW_DEVELOPER_KEY,
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
function filterOf({ text, group }: { text?: string; group?: string }): UserFilter {
  return { text: decodeAgain(text ?? "").trim(), group };
}

function accountJsonWith(oidc: readonly OidcSignIn[]) {
  return ({ user, groups, keys }: UserAccount) => {
    const { oidcSubject: subject = null, oidcIssuer: issuer = null, blockedOn } = user;
    const provider = issuer === null ? null : (oidc.find((one) => isSameIssuer(one.issuer, issuer))?.name ?? issuer);
    return { ...userToJson(user), groups, keys, subject, provider, blockedOn: blockedOn === undefined ? null : isoDate(blockedOn) };
  };
}
