import type { UserAccounts } from "../identity/open-users.ts";
import { createHash } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { Type } from "typebox";
import type { Clock } from "../../lib/clock.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import { clientAbortSignal } from "./api-error.ts";
import { headerOf } from "./authorization.ts";
import { isoDate } from "./entities.ts";
import { webRootOf } from "./origins.ts";
import { route, type Route, type RouteDeps } from "./route.ts";
import { AUDIT_ENTRY, EFFECTIVE_SETTINGS, oneOf, SERVER_OVERVIEW, text } from "./schemas.ts";
import type { AuditEntry } from "../model/records.ts";
import type { ApiDeps } from "./api-deps.ts";
import { AUDIT_ACTIONS } from "../model/audit-actions.ts";

/** What clients and load balancers request before they sign in. */
export function serverRoutes({ store, settings }: Pick<RouteDeps, "store" | "settings">): Route[] {
  const tags = ["server"];

  return [
    route({
      method: "GET",
      path: "/info/server",
      authorize: "anyone",
      schema: { tags, summary: "Returns the version and the public address", response: Type.Object({ Version: text, webRoot: text }) },
      handle: async (request) => ({ Version: settings.version, webRoot: webRootOf(settings, request) }),
    }),
    route({
      method: "GET",
      path: "/admin/health",
      authorize: "anyone",
      exposeHead: true,
      schema: { tags, summary: "Returns 200 while the server works", response: Type.Object({ status: text }) },
      handle: async () => {
        await store.users.byLogin("");
        return { status: "ok" };
      },
    }),
    route({
      method: "GET",
      path: "/admin/startup_data",
      authorize: "anyone",
      schema: { tags, summary: "Returns the data that clients need first", response: Type.Object({ webRoot: text }) },
      handle: async (request) => ({ webRoot: webRootOf(settings, request) }),
    }),
  ];
}

/** The OpenAPI document, for anyone. It is created once: that takes some milliseconds, and requests for it need no sign-in. */
export function openApiRoute(app: FastifyInstance): Route {
  let document: { bytes: Buffer; etag: string } | undefined;
  return route({
    method: "GET",
    path: "/openapi.json",
    authorize: "anyone",
    schema: { hide: true },
    handle: (request, reply) => {
      if (document === undefined) {
        const bytes = Buffer.from(JSON.stringify(app.swagger()));
        document = { bytes, etag: `W/"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"` };
      }
      reply.header("etag", document.etag).header("cache-control", "no-cache").type("application/json; charset=utf-8");
      if (request.headers["if-none-match"] === document.etag) return reply.code(304).send();
      return reply.send(document.bytes);
    },
  });
}

/** A driver's own limits are for starts; while an engine is unreachable, a page cannot wait so long. */
const CAPACITY_MS = 5_000;
const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not report its capacity within ${CAPACITY_MS / 1_000} s.`);

type OverviewDeps = Pick<RouteDeps, "store" | "lifecycle" | "gateways" | "backend" | "identity" | "signingKeys" | "settings" | "clock" | "log"> & {
  proxies: UntrustedProxies;
};

/** The whole server at a glance, for administrators. */
export function overviewRoutes(deps: OverviewDeps): Route[] {
  const { store, lifecycle, gateways, backend, identity, signingKeys, settings, proxies, clock, log } = deps;
  const startedOn = isoDate(clock.now());
  const byStatus = <S extends string>(rows: readonly { state: S; count: number }[], words: Record<S, string>): Record<string, number> =>
    Object.fromEntries(rows.map((row) => [words[row.state], row.count]));

  return [
    route({
      method: "GET",
      path: "/admin/stand",
      authorize: "admin",
      schema: { tags: ["server"], summary: "Returns backend, capacity, queue, versions, and keys with their age", response: SERVER_OVERVIEW },
      handle: async (_request, reply) => {
        // The rest of the page is useful while the container engine is unreachable.
        const limit = { clock, ms: CAPACITY_MS, overdue, signal: clientAbortSignal(reply) };
        const capacity = await withTimeout(limit, (signal) => backend.capacity(signal)).catch((err: unknown) => {
          log.debug({ err }, "capacity of the container engine unknown");
          return undefined;
        });
        return {
          version: settings.version,
          node: process.version,
          startedOn,
          backend: { driver: backend.driver, environment: backend.environment },
          capacity: capacity ?? null,
          promised: await store.containers.reserved(),
          containers: byStatus(await store.containers.states(), CONTAINER_WIRE_STATES),
          images: byStatus(await store.images.states(), IMAGE_WIRE_STATES),
          queue: lifecycle.depth(),
          gateways: gateways.count(),
          untrustedProxies: proxies.addresses(),
          signingKeys: (await signingKeys.all()).map(({ kid, createdOn, retiredOn }) => ({
            kid,
            createdOn: isoDate(createdOn),
            signs: retiredOn === undefined,
          })),
          developerKeys: await developerKeysOf(identity.users),
        };
      },
    }),
  ];
}

async function developerKeysOf(users: UserAccounts) {
  const keys: { login: string; id: string; label: string; createdOn: string }[] = [];
  for (const { user } of await users.all())
    for (const { id, label, createdOn } of await users.keys(user.login)) keys.push({ login: user.login, id, label, createdOn: isoDate(createdOn) });
  return keys;
}

export type UntrustedProxies = {
  /** The latest first. */
  addresses(): string[];
};

const MOST_PEERS = 20;
const PEER_MS = 24 * 3_600_000;
const LONGEST_ADDRESS = 64;

/**
 * Records peers that send forwarding headers and are not listed in `BERTH_TRUSTED_PROXIES`. If such a peer is a load balancer, the limits of sign-in, the
 * audit log and the access log take all its clients for one address. In memory, for one day.
 */
export function watchUntrustedProxies(app: FastifyInstance, clock: Clock): UntrustedProxies {
  const lastSeen = new Map<string, number>();
  app.addHook("onRequest", async (request) => {
    const address = headerOf(request.headers)(UNTRUSTED_PROXY_HEADER)?.slice(0, LONGEST_ADDRESS);
    if (address === undefined) return;
    // The latest is the last in the map.
    lastSeen.delete(address);
    lastSeen.set(address, clock.monotonic());
    const [oldest] = lastSeen.keys();
    if (lastSeen.size > MOST_PEERS && oldest !== undefined) lastSeen.delete(oldest);
  });
  return {
    addresses: () =>
      [...lastSeen]
        .filter(([, at]) => clock.monotonic() - at <= PEER_MS)
        .map(([address]) => address)
        .toReversed(),
  };
}

const QUERY = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, default: 100 })),
  before: Type.Optional(Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: "the smallest seq of the previous page" })),
  action: Type.Optional(oneOf(AUDIT_ACTIONS)),
  login: Type.Optional(text),
  target: Type.Optional(Type.String({ minLength: 1, description: "a part of the target" })),
  from: Type.Optional(Type.String({ format: "date-time", description: "from this time on" })),
  to: Type.Optional(Type.String({ format: "date-time", description: "before this time" })),
});

/** The settings in force, for administrators. */
export function settingsRoutes({ effectiveSettings }: Pick<ApiDeps, "effectiveSettings">): Route[] {
  return [
    route({
      method: "GET",
      path: "/admin/settings",
      authorize: "admin",
      schema: {
        tags: ["server"],
        summary: "Lists the settings of this control process, with the source of each; secrets are ***",
        response: EFFECTIVE_SETTINGS,
      },
      handle: async () => [...effectiveSettings],
    }),
  ];
}

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
        response: Type.Array(AUDIT_ENTRY),
      },
      handle: async ({ query: { from, to, limit = 100, ...query } }) =>
        (await store.audit.list({ ...query, limit, ...epochMs("from", from), ...epochMs("to", to) })).map(entryToJson),
    }),
  ];
}

function epochMs(name: "from" | "to", time: string | undefined): { from?: number; to?: number } {
  if (time === undefined) return {};
  const at = Date.parse(time);
  // The format has leap seconds, which no date of JavaScript is.
  if (Number.isNaN(at)) throw new Fault("REQUEST_INVALID", `${name} is ${time}, which is no time that berth knows: leave the leap second out.`);
  return { [name]: at };
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
