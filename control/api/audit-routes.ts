import type { FastifyInstance } from "fastify";
import type { AuditEntry } from "../store/audit.ts";
import type { ApiDeps } from "./api-deps.ts";
import { AUDITED, IMAGE_ACTIONS } from "./audit.ts";
import { responses } from "./schemas.ts";

const ACTIONS = [...new Set([...Object.values(AUDITED).flatMap((row) => row?.action ?? []), ...Object.values(IMAGE_ACTIONS)])];

const text = { type: "string" } as const;
const orNull = { type: ["string", "null"] } as const;
const date = { type: "string", format: "date-time" } as const;
const ENTRY = {
  type: "object",
  properties: {
    seq: { type: "integer" },
    time: date,
    action: text,
    target: { ...orNull, description: "what it was done to" },
    login: { ...orNull, description: "as it was then" },
    userId: orNull,
    via: { ...orNull, description: "devKey, session (key, authorization or cookie), or registry" },
    address: { ...orNull, description: "the client's, as the edge saw it" },
    requestId: orNull,
    status: { type: ["integer", "null"], description: "of the answer; null where the client was gone before it" },
  },
} as const;
const QUERY = {
  type: "object",
  properties: {
    limit: { type: "integer", minimum: 1, maximum: 1_000, default: 100 },
    before: { type: "integer", minimum: 1, description: "the smallest seq of the page before" },
    action: { type: "string", enum: ACTIONS },
    login: text,
    target: { ...text, minLength: 1, description: "a part of it" },
    from: { ...date, description: "from this time on" },
    to: { ...date, description: "before this time" },
  },
} as const;

type Query = { limit: number; before?: number; action?: string; login?: string; target?: string; from?: string; to?: string };

/** Who did what, for administrators. */
export function auditRoutes(app: FastifyInstance, { store }: Pick<ApiDeps, "store">): void {
  app.get<{ Querystring: Query }>(
    "/admin/audit",
    {
      config: { admits: "admin" },
      schema: {
        tags: ["server"],
        summary: "Who started, stopped, published, pushed, deleted, changed or signed in; the newest first",
        querystring: QUERY,
        response: responses({ type: "array", items: ENTRY }),
      },
    },
    ({ query: { from, to, ...query } }) => store.audit.list({ ...query, ...moment("from", from), ...moment("to", to) }).map(onWire),
  );
}

function moment(name: "from" | "to", text: string | undefined): { from?: number; to?: number } {
  return text === undefined ? {} : { [name]: Date.parse(text) };
}

function onWire({ at, target, login, userId, via, address, requestId, status, ...entry }: AuditEntry) {
  return {
    ...entry,
    time: new Date(at).toISOString(),
    target: target ?? null,
    login: login ?? null,
    userId: userId ?? null,
    via: via ?? null,
    address: address ?? null,
    requestId: requestId ?? null,
    status: status ?? null,
  };
}
