import type { FastifyRequest } from "fastify";
import { Type } from "typebox";
import { LOGIN, MOST_GROUPS } from "../identity/open-users.ts";
import { sessionId } from "../identity/user-sessions.ts";
import type { User } from "../model/entities.ts";
import { listTargets } from "../packages/credentials/list-targets.ts";
import type { SessionRow } from "../store/sessions.ts";
import type { DevKeyRow, StoreRange } from "../store/users.ts";
import type { ApiCaller } from "./authorization.ts";
import { isoDate, keyToJson } from "./entities.ts";
import { namedTarget } from "./record-audit.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { DONE, text } from "./schemas.ts";
import {
  CREDENTIAL_PACKAGES,
  DEVELOPER_KEYS,
  ENDED_SESSIONS,
  GROUP_ROWS,
  MOST_ACCOUNT_ROWS,
  MOST_CREDENTIAL_PACKAGES,
  NEW_DEVELOPER_KEY,
  PAGE_QUERY,
  type PageQuery,
  SESSION_ROWS,
} from "./schemas-accounts.ts";

const OF_LOGIN = Type.Object({ login: text });
const OF_ID = Type.Object({ id: text });
const MEMBER = Type.Object({ name: Type.String({ pattern: LOGIN }), login: text });
export const NEW_KEY_BODY = Type.Object(
  { label: Type.Optional(Type.String({ maxLength: 100, description: "what the key is for" })) },
  { additionalProperties: false },
);

type AccountDeps = Pick<RouteDeps, "identity" | "store" | "authorization">;

/** The keys, sessions, groups and credentials of all users, for administrators. */
export function accountRoutes({ identity, store, authorization }: AccountDeps): Route[] {
  const authorize = "admin" as const;
  const tags = ["users"];
  const ofLogin = Type.Object({ ...PAGE_QUERY.properties, login: Type.Optional(Type.String({ description: "only of this user" })) });
  /** The filter of `login`. A user who does not exist has no rows. */
  const userIdOf = async (login: string | undefined) => (login === undefined ? undefined : ((await store.users.byLogin(login))?.id ?? ""));
  const requireUser = async (login: string): Promise<User> => (await identity.users.find(login)).user;

  return [
    route({
      method: "GET",
      path: "/admin/developer-keys",
      authorize,
      schema: { tags, summary: "Lists the developer keys of all users", querystring: ofLogin, response: DEVELOPER_KEYS },
      handle: async (request) => {
        const { text: word, login } = request.query;
        const { total, rows } = await identity.users.keyPage({ text: word, userId: await userIdOf(login) }, rangeOf(request.query));
        return { total, rows: rows.map((row) => keyRowToJson(row, authorization.caller(request))) };
      },
    }),
    route({
      method: "GET",
      path: "/admin/sessions",
      authorize,
      schema: { tags, summary: "Lists the sessions of all users, except those of containers", querystring: ofLogin, response: SESSION_ROWS },
      handle: async (request) => {
        const { text: word, login } = request.query;
        const { total, rows } = await identity.sessions.page({ text: word, userId: await userIdOf(login) }, rangeOf(request.query));
        return { total, rows: rows.map((row) => sessionToJson(row, authorization.caller(request))) };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/:login/sessions/:id",
      authorize,
      audit: { action: "sessionEnded", target: ({ params }) => namedTarget(params.login, params.id) },
      schema: { tags, summary: "Ends a session of a user", params: Type.Object({ login: text, id: text }), response: DONE },
      handle: async ({ params: { login, id } }) => {
        await identity.sessions.end((await requireUser(login)).id, id);
        return { isSuccess: true };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/:login/sessions",
      authorize,
      audit: { action: "sessionEnded", target: ({ params }) => params.login },
      schema: { tags, summary: "Ends all sessions of a user, except the one of the request", params: OF_LOGIN, response: ENDED_SESSIONS },
      handle: async (request) => {
        const { id } = await requireUser(request.params.login);
        return { ended: await identity.sessions.endAll(id, currentSession(authorization.caller(request))) };
      },
    }),
    route({
      method: "GET",
      path: "/admin/groups",
      authorize,
      schema: { tags, summary: "Lists groups with the number of their members", querystring: PAGE_QUERY, response: GROUP_ROWS },
      handle: async ({ query }) => ({ total: await store.groups.count(query.text), rows: await store.groups.page(query.text, rangeOf(query)) }),
    }),
    route({
      method: "PUT",
      path: "/admin/groups/:name/members/:login",
      authorize,
      audit: { action: "memberAdded", target: ({ params }) => namedTarget(params.login, params.name) },
      schema: {
        tags,
        summary: `Adds a user to a group, which exists while it has members; a user is in at most ${MOST_GROUPS}`,
        params: MEMBER,
        response: DONE,
      },
      handle: async ({ params: { name, login } }) => {
        await identity.users.joinGroup(login, name);
        return { isSuccess: true };
      },
    }),
    route({
      method: "DELETE",
      path: "/admin/groups/:name/members/:login",
      authorize,
      audit: { action: "memberRemoved", target: ({ params }) => namedTarget(params.login, params.name) },
      schema: { tags, summary: "Removes a user from a group", params: MEMBER, response: DONE },
      handle: async ({ params: { name, login } }) => {
        await identity.users.leaveGroup(login, name);
        return { isSuccess: true };
      },
    }),
    route({
      method: "GET",
      path: "/admin/credentials",
      authorize,
      schema: {
        tags: ["credentials"],
        summary: "Lists packages with the names of their credentials and the containers that receive them, without values",
        querystring: Type.Object({
          text: PAGE_QUERY.properties.text,
          page: PAGE_QUERY.properties.page,
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_CREDENTIAL_PACKAGES, default: MOST_CREDENTIAL_PACKAGES })),
          set: Type.Optional(Type.Boolean({ default: false, description: "only packages that have credentials" })),
        }),
        response: CREDENTIAL_PACKAGES,
      },
      handle: async ({ query }) => {
        const range = rangeOf({ limit: MOST_CREDENTIAL_PACKAGES, ...query });
        const { total, rows } = await listTargets(store, { text: query.text, isSet: query.set }, range);
        const logins = await store.users.logins(rows.map(({ authorId }) => authorId));
        return {
          total,
          rows: rows.map(({ authorId, targets, ...row }) => ({
            ...row,
            author: logins.get(authorId) ?? "",
            targets: targets.map(({ connection, credentials, ...target }) => ({
              ...target,
              connection: connection ?? null,
              credentials: credentials.map(({ updatedOn, ...one }) => ({ ...one, updatedOn: isoDate(updatedOn) })),
            })),
          })),
        };
      },
    }),
  ];
}

/**
 * The caller's own keys and sessions. A key outlives the session that created it, so containers, and pages at the edge, which have plain sessions, cannot
 * create one.
 */
export function ownAccountRoutes({ identity, authorization }: AccountDeps): Route[] {
  const authorize = "account" as const;
  const tags = ["users"];
  const login = (request: FastifyRequest) => authorization.caller(request).login;

  return [
    route({
      method: "GET",
      path: "/users/current/keys",
      authorize,
      schema: { tags, summary: "Lists the caller's developer keys", querystring: PAGE_QUERY, response: DEVELOPER_KEYS },
      handle: async (request) => {
        const caller = authorization.caller(request);
        const { total, rows } = await identity.users.keyPage({ text: request.query.text, userId: caller.userId }, rangeOf(request.query));
        return { total, rows: rows.map((row) => keyRowToJson(row, caller)) };
      },
    }),
    route({
      method: "POST",
      path: "/users/current/keys",
      authorize,
      audit: { action: "keyMade", target: login },
      schema: { tags, summary: "Creates a developer key of the caller", body: NEW_KEY_BODY, response: NEW_DEVELOPER_KEY },
      handle: async (request) => {
        const { key, kept } = await identity.users.addKey(login(request), request.body.label ?? "");
        return { ...keyToJson(kept), key };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/current/keys/:id",
      authorize,
      audit: { action: "keyRevoked", target: (request) => namedTarget(login(request), request.params.id) },
      schema: { tags, summary: "Revokes a developer key of the caller, and ends the sessions that it opened", params: OF_ID, response: DONE },
      handle: async (request) => {
        await identity.users.revokeKey(login(request), request.params.id);
        return { isSuccess: true };
      },
    }),
    route({
      method: "GET",
      path: "/users/current/sessions",
      authorize,
      schema: { tags, summary: "Lists the caller's sessions, except those of containers", querystring: PAGE_QUERY, response: SESSION_ROWS },
      handle: async (request) => {
        const caller = authorization.caller(request);
        const { total, rows } = await identity.sessions.page({ text: request.query.text, userId: caller.userId }, rangeOf(request.query));
        return { total, rows: rows.map((row) => sessionToJson(row, caller)) };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/current/sessions/:id",
      authorize,
      audit: { action: "sessionEnded", target: (request) => namedTarget(login(request), request.params.id) },
      schema: { tags, summary: "Ends a session of the caller", params: OF_ID, response: DONE },
      handle: async (request) => {
        await identity.sessions.end(authorization.caller(request).userId, request.params.id);
        return { isSuccess: true };
      },
    }),
    route({
      method: "DELETE",
      path: "/users/current/sessions",
      authorize,
      audit: { action: "sessionEnded", target: login },
      schema: { tags, summary: "Ends all sessions of the caller, except the one of the request", response: ENDED_SESSIONS },
      handle: async (request) => {
        const caller = authorization.caller(request);
        return { ended: await identity.sessions.endAll(caller.userId, currentSession(caller)) };
      },
    }),
  ];
}

/** The rows of a page. */
export function rangeOf({ limit = MOST_ACCOUNT_ROWS, page = 1 }: Pick<PageQuery, "limit" | "page">): StoreRange {
  return { limit, offset: (page - 1) * limit };
}

/** The digest of the session of a request; undefined: it shows a developer key. */
function currentSession({ by, ref }: ApiCaller): string | undefined {
  return by === "devKey" ? undefined : (ref?.own ?? ref?.session);
}

function keyRowToJson({ digest, login, sessions, ...key }: DevKeyRow, { ref }: ApiCaller) {
  return { ...keyToJson(key), login, sessions, isCurrent: ref?.key === digest };
}

function sessionToJson(session: SessionRow, caller: ApiCaller) {
  const { digest, kind, parent, keyId, keyLabel, createdOn, expiresOn, login, address } = session;
  return {
    id: sessionId(session),
    login,
    use: parent === null ? (kind ?? "plain") : ("page" as const),
    key: keyId === null ? null : { id: keyId, label: keyLabel ?? "" },
    createdOn: createdOn === null ? null : isoDate(createdOn),
    expiresOn: isoDate(expiresOn),
    address,
    isCurrent: currentSession(caller) === digest,
  };
}
