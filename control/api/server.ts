import type { FastifyInstance } from "fastify";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import { CONTAINER_WIRE_STATES, IMAGE_WIRE_STATES } from "../model/states.ts";
import type { ApiDeps } from "./api-deps.ts";
import { clientAbortSignal } from "./api-error.ts";
import { isoDate } from "./entity-json.ts";
import { responses } from "./schemas.ts";
import type { Clock } from "../../lib/clock.ts";
import { UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { headerOf } from "./authorization.ts";

const text = { type: "string" } as const;
const count = { type: "integer" } as const;
const date = { type: "string", format: "date-time" } as const;
const byStatus = { type: "object", additionalProperties: count, description: "how many, by status" } as const;
const room = { cpu: { type: "number", description: "cores" }, memoryMb: { type: "number", description: "MiB" } } as const;

const STAND = {
  type: "object",
  properties: {
    version: text,
    node: text,
    startedOn: { ...date, description: "the control process" },
    backend: { type: "object", properties: { driver: text, environment: text } },
    capacity: {
      type: ["object", "null"],
      properties: { machines: count, ...room },
      description: "of what runs the containers; null where it has as much as is wished, or cannot be asked",
    },
    promised: { type: "object", properties: room, description: "to containers that run, by their container.json" },
    containers: byStatus,
    images: byStatus,
    queue: { type: "object", properties: { waiting: count, running: count }, description: "what is to be looked at, and what is" },
    gateways: { ...count, description: "processes that follow this control plane" },
    untrustedProxies: { type: "array", items: text, description: "peers that sent X-Forwarded-For and are not in BERTH_TRUSTED_PROXIES" },
    signingKeys: { type: "array", items: { type: "object", properties: { kid: text, createdOn: date, signs: { type: "boolean" } } } },
    developerKeys: { type: "array", items: { type: "object", properties: { login: text, id: text, label: text, createdOn: date } } },
  },
} as const;

/** A driver's own limits are for starts: of an engine that is away, they are longer than anybody looks at an empty page. */
const CAPACITY_MS = 5_000;
const overdue = () => new Fault("ENGINE_UNREACHABLE", `The container engine did not tell its capacity within ${CAPACITY_MS / 1_000} s.`);

/** The whole stand at a look, for administrators. */
export function standRoutes(app: FastifyInstance, parts: ApiDeps, proxies: UntrustedProxies): void {
  const { store, lifecycle, gateways, backend, identity, signingKeys, settings, clock, log } = parts;
  const startedOn = new Date(clock.now()).toISOString();
  const byStates = <S extends string>(rows: readonly { state: S; count: number }[], words: Record<S, string>) =>
    Object.fromEntries(rows.map((row) => [words[row.state], row.count]));

  app.get(
    "/admin/stand",
    {
      config: { admits: "admin" },
      schema: { tags: ["server"], summary: "Backend, capacity, queue, versions, and keys with their age", response: responses(STAND) },
    },
    async (_request, reply) => {
      // The rest of the page is worth having while the orchestrator is away.
      const limit = { clock, ms: CAPACITY_MS, overdue, signal: clientAbortSignal(reply) };
      const capacity = await withTimeout(limit, (signal) => backend.capacity(signal)).catch((err: unknown) => {
        log.debug({ err }, "The orchestrator did not tell its capacity");
        return undefined;
      });
      return {
        version: settings.version,
        node: process.version,
        startedOn,
        backend: { driver: backend.driver, environment: backend.environment },
        capacity: capacity ?? null,
        promised: store.containers.promised(),
        containers: byStates(store.containers.states(), CONTAINER_WIRE_STATES),
        images: byStates(store.images.states(), IMAGE_WIRE_STATES),
        queue: lifecycle.depth(),
        gateways: gateways.count(),
        untrustedProxies: proxies.addresses(),
        signingKeys: signingKeys
          .all()
          .map(({ kid, createdOn, retiredOn }) => ({ kid, createdOn: isoDate(createdOn), signs: retiredOn === undefined })),
        developerKeys: identity.users
          .all()
          .flatMap(({ user }) =>
            identity.users.keys(user.login).map(({ id, label, createdOn }) => ({ login: user.login, id, label, createdOn: isoDate(createdOn) })),
          ),
      };
    },
  );
}

export type UntrustedProxies = {
  /** Their addresses, the last one seen first. */
  addresses(): string[];
};

const MOST = 20;
const KEPT_MS = 24 * 3_600_000;
const LONGEST_ADDRESS = 64;

/**
 * Remembers which peers send forwarding headers and are not listed in `BERTH_TRUSTED_PROXIES`. Where such a peer is a load balancer, all clients behind it are one
 * address to the limits of sign-in, the audit log and the access log. In memory, of the last day.
 */
export function watchUntrustedProxies(app: FastifyInstance, clock: Clock): UntrustedProxies {
  const seen = new Map<string, number>();
  app.addHook("onRequest", async (request) => {
    const address = headerOf(request.headers)(UNTRUSTED_PROXY_HEADER)?.slice(0, LONGEST_ADDRESS);
    if (address === undefined) return;
    // Last in the map is who was seen last.
    seen.delete(address);
    seen.set(address, clock.monotonic());
    const [oldest] = seen.keys();
    if (seen.size > MOST && oldest !== undefined) seen.delete(oldest);
  });
  return {
    addresses: () =>
      [...seen]
        .filter(([, at]) => clock.monotonic() - at <= KEPT_MS)
        .map(([address]) => address)
        .toReversed(),
  };
}
