import { hash, timingSafeEqual } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";
import { createBackoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { createConnectionLimits, plainAddress } from "../../lib/connection-limits.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { openMetrics } from "../../lib/metrics/open-metrics.ts";
import type { ExchangeObserver } from "../access-record.ts";
import type { Leases } from "../containers/lease.ts";
import { createProbeMatcher } from "../containers/route.ts";
import type { NetConnection } from "../connections/connection.ts";
import { acceptWaiting } from "../connections/engine.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { Caller, Directory, Identity } from "../contract.ts";
import type { Decide, Decision, DirectResponse, Head, HeaderLine, IncomingRequest } from "../decision.ts";
import { containerErrorResponse } from "../direct-responses.ts";
import { openSpliceEngine } from "../exchange/open-splice-engine.ts";
import { type GatewayLimits, MAX_CONNECTIONS } from "../limits.ts";
import { allowResponse, refuseResponse } from "./callout-response.ts";
import { type ContainerUses, createContainerUses } from "./container-uses.ts";
import { CALLOUT_LABELS, decideOriginal, faultOf, type OriginalContext } from "./decide-original.ts";
import type { ExtAuthz, ExtAuthzDeps } from "./ext-authz.ts";
import { DECIDE_PATH, ENVOY_PREFIX, PROXY_HEADER, readOriginalRequest, SECRET_HEADER } from "./original-request.ts";
import { createRecentChanges } from "./recent-changes.ts";

/** How proxies of the operator ask berth. */
export type CalloutOptions = {
  host: string;
  port: number;
  /** Every question carries it. Undefined: only the listener's address protects it. */
  secret: string | undefined;
  /** How long a decision keeps its container in use. */
  activeMs: number;
  /** The UDP port for lines of access logs, and how long a request counts whose line does not come. */
  logs: { port: number; openMs: number } | undefined;
  /** Called with the server before it listens. */
  guard?: ((server: Server) => void) | undefined;
};

type CalloutDeps = {
  /** The decision of the edge. */
  decide: Decide;
  directory: Directory;
  identity: Identity;
  leases: Leases;
  connections: ConnectionFactory;
  observer: ExchangeObserver;
  origins: readonly string[];
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
};

export type Callout = {
  port: number;
  logPort: number | undefined;
  /** Accepts nothing more, and waits at most `ms` for open questions. */
  drain(ms: number): Promise<void>;
  close(): Promise<void>;
};

const CHANGES_PATH = "/changes";
const REPORT_PATH = "/report";
/** `<container id>:<open connections>:<requests since the last report>`, or with a fourth number: the seconds for which the container is busy. */
const REPORTED = /^([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}):(\d{1,7}):(\d{1,9})(?::(\d{1,7}))?$/;
/** In a line of an access log, whatever else the line contains. */
const LEASE_IN_LINE = /lease"?\s*[:=]\s*\[?"?([\w-]{22})(?![\w-])/i;

/** Listens for the questions of proxies that carry the bytes themselves. Faults: ADDRESS_IN_USE. */
export async function openCallout(deps: CalloutDeps, options: CalloutOptions): Promise<Callout> {
  const { connections, limits, clock, log, directory, identity, leases, observer } = deps;
  const { host, port, secret, activeMs, logs, guard } = options;
  const uses = createContainerUses({ leases, clock, activeMs, openMs: logs?.openMs });
  const changes = createRecentChanges({ directory, identity, clock });
  const isSecret = secretCheck(secret);
  const original: OriginalContext = { ...deps, uses, changes, isProbe: createProbeMatcher(limits.noWake) };
  const extAuthz = loadExtAuthz({ ...original, limits, isSecret, observer, clock });
  const engine = openSpliceEngine({
    decide: createCalloutDecide({ ...original, directory, isSecret }),
    refusal: containerErrorResponse,
    // A question is open while its request is held, and proxies keep their connections.
    limits,
    connections,
    tls: undefined,
    takeHttp2: extAuthz.accept,
    bounds: createConnectionLimits({ perAddress: MAX_CONNECTIONS, total: Math.ceil(limits.connectionsTotal / 2), clock, log }),
    watch: observer,
    // Those of the edge count clients.
    counts: openMetrics(),
    clock,
    log,
  });
  let accepted = 0;
  engine.server.on("connection", () => accepted++);
  guard?.(engine.server);
  // Each worker listens there, and so does the next version during an upgrade.
  engine.server.listen({ host, port, reusePort: true, exclusive: true });
  await once(engine.server, "listening").catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${host} port ${port} for the callouts of proxies: BERTH_CALLOUT_PORT names another.`, {
      cause,
    });
  });
  const lines = logs && (await openLogLines({ host, port: logs.port, uses, clock, log }));
  let ended = false;
  const end = () => {
    if (ended) return;
    ended = true;
    lines?.close();
    changes.close();
    uses.close();
  };
  return {
    port: (engine.server.address() as AddressInfo).port,
    logPort: lines?.port(),
    drain: async (ms) => {
      changes.close();
      await acceptWaiting(() => accepted);
      await Promise.all([engine.drain(ms), extAuthz.drain(ms)]);
      end();
    },
    close: async () => {
      end();
      extAuthz.close();
      await engine.close();
    },
  };
}

/** Loads gRPC with the first connection that speaks it: it takes 0.1 s of processor time in each gateway. */
function loadExtAuthz(deps: ExtAuthzDeps): ExtAuthz {
  let loading: Promise<ExtAuthz> | undefined;
  let isClosed = false;
  const load = async () => (await import("./ext-authz.ts")).openExtAuthz(deps);
  const accept = async (connection: NetConnection, first: Buffer) => {
    loading ??= load();
    const service = await loading;
    if (isClosed) connection.destroy();
    else service.accept(connection, first);
  };
  return {
    accept: (connection, first) =>
      void accept(connection, first).catch((error: unknown) => {
        connection.destroy();
        deps.log.error({ err: error }, "gRPC of proxies not available: internal error");
      }),
    drain: async (ms) => {
      isClosed = true;
      await (await loading)?.drain(ms);
    },
    close: () => {
      isClosed = true;
      void loading?.then((service) => service.close());
    },
  };
}

/** Between attempts to bind a port that another process has. */
const BIND_RETRY = { firstMs: 250, longestMs: 5_000 };

type LogLines = { port(): number | undefined; close(): void };
type LogLinesDeps = { host: string; port: number; uses: ContainerUses; clock: Clock; log: Log };

/**
 * Reads lines of access logs. During an upgrade, the gateway before this one has the port until it ends. If both had it, the lines of requests that one has
 * decided would reach the other: so this tries again until the port is free. A request whose line is lost counts for `openMs`. Faults: ADDRESS_IN_USE if
 * the port cannot be bound for another reason.
 */
async function openLogLines({ host, port, uses, clock, log }: LogLinesDeps): Promise<LogLines> {
  const backoff = createBackoff(BIND_RETRY.firstMs, BIND_RETRY.longestMs);
  let socket: UdpSocket | undefined;
  let isClosed = false;
  let isWarned = false;
  let cancelRetry = () => {};
  const bind = async (): Promise<void> => {
    const binding = createSocket({ type: host.includes(":") ? "udp6" : "udp4" });
    binding.on("message", (datagram) => {
      const id = LEASE_IN_LINE.exec(datagram.toString("latin1"))?.[1];
      if (id !== undefined) uses.end(id);
    });
    const bound = once(binding, "listening");
    binding.bind({ address: host, port, exclusive: true });
    try {
      await bound;
    } catch (cause) {
      binding.close();
      if (!(cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE")) throw cause;
      const retryInMs = backoff.next();
      // Once: another program may have it for ever.
      const fields = { host, port, retryInMs, setting: "BERTH_CALLOUT_LOG_PORT" };
      log[isWarned ? "debug" : "warn"](fields, "access logs of proxies not readable yet: another process has the UDP port");
      isWarned = true;
      if (!isClosed) cancelRetry = clock.after(retryInMs, () => void bind().catch(onError));
      return;
    }
    if (isClosed) return void binding.close();
    binding.on("error", onError);
    socket = binding;
  };
  const onError = (error: unknown) => log.error({ err: error }, "access logs of proxies not readable");
  await bind().catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${host} UDP port ${port} for access logs of proxies: BERTH_CALLOUT_LOG_PORT names another.`, {
      cause,
    });
  });
  return {
    port: () => socket?.address().port,
    close: () => {
      isClosed = true;
      cancelRetry();
      socket?.close();
    },
  };
}

function secretCheck(secret: string | undefined): (shown: string | undefined) => boolean {
  if (secret === undefined) return () => true;
  const expected = hash("sha256", secret, "buffer");
  return (shown) => shown !== undefined && timingSafeEqual(hash("sha256", shown, "buffer"), expected);
}

type CalloutContext = OriginalContext & Pick<CalloutDeps, "directory"> & { isSecret(shown: string | undefined): boolean };

/** Decides about the questions: every decision is a direct response. */
function createCalloutDecide(context: CalloutContext): Decide {
  const { isSecret, log } = context;
  return async (incoming) => {
    const { head, signal } = incoming;
    try {
      if (!isSecret(head.header(SECRET_HEADER)))
        throw new Fault("NOT_PERMITTED", "X-Berth-Callout-Secret is missing or wrong: it must be the value of BERTH_CALLOUT_SECRET");
      const [path = "", query = ""] = head.target.split("?", 2);
      if (path === DECIDE_PATH || path.startsWith(`${ENVOY_PREFIX}/`)) return await answerQuestion(context, incoming);
      if (path === CHANGES_PATH) return await listChanges(context, query, signal);
      if (path === REPORT_PATH) return readReport(context, head, query, incoming.peer.address);
      throw new Fault("ROUTE_NOT_FOUND", `The listener for callouts has ${DECIDE_PATH}, ${ENVOY_PREFIX}/, ${CHANGES_PATH} and ${REPORT_PATH} only`);
    } catch (error) {
      if (signal.aborted) throw error;
      return refused(faultOf(error, log));
    }
  };
}

function refused(fault: Fault): Decision {
  return { kind: "answer", answer: refuseResponse("forward-auth", containerErrorResponse(fault)), labels: { ...CALLOUT_LABELS, fault: fault.code } };
}

/** The decision about a client's request as the response to its proxy's question. */
async function answerQuestion(context: OriginalContext, incoming: IncomingRequest): Promise<Decision> {
  const original = readOriginalRequest(incoming);
  const outcome = await decideOriginal(context, original);
  const answer = outcome.kind === "allow" ? allowResponse(original.style, outcome.allowed) : refuseResponse(original.style, outcome.answer);
  return { kind: "answer", answer, labels: outcome.labels };
}

async function listChanges({ changes }: CalloutContext, query: string, signal: AbortSignal): Promise<Decision> {
  const parameters = new URLSearchParams(query);
  const at = Number(parameters.get("at") ?? 0);
  const list = await changes.since(parameters.get("source") ?? undefined, Number.isSafeInteger(at) ? at : 0, signal);
  return { kind: "answer", answer: jsonResponse(list), labels: CALLOUT_LABELS };
}

/** Reads every valid entry, and then refuses if one is malformed: the entries of a report belong to different containers. Faults: REQUEST_INVALID. */
function readReport({ uses, directory }: CalloutContext, head: Head, query: string, address: string): Decision {
  const proxy = head.header(PROXY_HEADER) ?? plainAddress(address);
  let isMalformed = false;
  for (const entry of query.split(",")) {
    if (entry === "") continue;
    const [, id, open, requests, busySeconds] = REPORTED.exec(entry) ?? [];
    if (id === undefined) {
      isMalformed = true;
      continue;
    }
    const view = directory.cached(id, NO_CALLER);
    if (view === undefined) continue;
    uses.report(view, proxy, { open: Number(open), requests: Number(requests) });
    if (busySeconds !== undefined) uses.reportBusy(view, proxy, Number(busySeconds));
  }
  if (isMalformed)
    throw new Fault(
      "REQUEST_INVALID",
      "A report is a list of <container id>:<open connections>:<requests since the last report>, with commas between. Its valid entries are read",
    );
  return { kind: "answer", answer: jsonResponse({}), labels: CALLOUT_LABELS };
}

const NO_CALLER: Caller = { token: "", userId: "", login: "", admin: false };

function jsonResponse(value: object): DirectResponse {
  const body = JSON.stringify(value);
  const headers: HeaderLine[] = [
    ["Content-Type", "application/json"],
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Cache-Control", "no-store"],
  ];
  return { status: 200, reason: "OK", headers, body };
}
