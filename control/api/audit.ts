import { Type } from "typebox";
import type { AuditEntry } from "../model/records.ts";
import type { ApiDeps } from "./api-deps.ts";
import { isoDate } from "./entity-json.ts";
import { AUDIT_ACTIONS } from "./record-audit.ts";
import { route, type Route } from "./route.ts";
import { count, date, nullable, oneOf, text } from "./schemas.ts";

const ENTRY = Type.Object({
  seq: count,
  time: date,
  action: text,
  target: nullable(text, { description: "what it was done to" }),
  login: nullable(text, { description: "the login at that time" }),
  userId: nullable(text),
  via: nullable(text, { description: "devKey, session (key, authorization or cookie), or registry" }),
  address: nullable(text, { description: "the client's address, as the edge saw it" }),
  requestId: nullable(text),
  status: nullable(count, { description: "of the response; null: the client left before it" }),
});
const QUERY = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, default: 100 })),
  before: Type.Optional(Type.Integer({ minimum: 1, description: "the smallest seq of the previous page" })),
  action: Type.Optional(oneOf(AUDIT_ACTIONS)),
  login: Type.Optional(text),
  target: Type.Optional(Type.String({ minLength: 1, description: "a part of the target" })),
  from: Type.Optional(Type.String({ format: "date-time", description: "from this time on" })),
  to: Type.Optional(Type.String({ format: "date-time", description: "before this time" })),
});

/** The audit log, for administrators. */
export function auditRoutes({ store }: Pick<ApiDeps, "store">): Route[] {
  return [
    route({
      method: "GET",
      path: "/admin/audit",
      authorize: "admin",
      schema: {
        tags: ["server"],
        summary: "Lists who started, stopped, published, pushed, deleted, changed or signed in; the newest first",
        querystring: QUERY,
        response: Type.Array(ENTRY),
      },
      handle: async ({ query: { from, to, limit = 100, ...query } }) =>
        (await store.audit.list({ ...query, limit, ...epochMs("from", from), ...epochMs("to", to) })).map(entryToJson),
    }),
  ];
}

function epochMs(name: "from" | "to", time: string | undefined): { from?: number; to?: number } {
  return time === undefined ? {} : { [name]: Date.parse(time) };
}

function entryToJson({ at, target, login, userId, via, address, requestId, status, ...entry }: AuditEntry) {
  return {
    ...entry,
    time: isoDate(at),
    target: target ?? null,
    login: login ?? null,
    userId: userId ?? null,
    via: via ?? null,
    address: address ?? null,
    requestId: requestId ?? null,
    status: status ?? null,
  };
}
