import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { formatServerTiming } from "../../lib/start-phases.ts";
import type { ExchangeLabels } from "../access-record.ts";
import { controlBackend, datagrokBackend, type DatagrokServer, forwardToApi } from "../api-backend.ts";
import { BUSY_HEADER, type ContainerView, type Directory, type Identity } from "../contract.ts";
import type {
  Decide,
  Decision,
  DirectResponse,
  Head,
  HeaderEdits,
  HeaderLine,
  IncomingRequest,
  PlainForward,
  ResponseHeadView,
} from "../decision.ts";
import { containerErrorResponse, internalFault } from "../direct-responses.ts";
import type { ControlApi } from "../feed/control-client.ts";
import {
  createTraceContext,
  type ForwardedEdits,
  createForwardedEdits,
  type TraceContext,
  type TrustedProxies,
  createTrustedProxies,
} from "../forwarded-headers.ts";
import { originForm } from "../http1/message-heads.ts";
import type { GatewayLimits } from "../limits.ts";
import type { GatewayReadiness } from "../readiness.ts";
import type { WaitingPage } from "../waiting/waiting-page.ts";
import { closeFor } from "../websockets/frames.ts";
import { authenticate, cachedCaller, type GatewayCaller, CONSOLE_COOKIES, credentialEdits } from "./credentials.ts";
import { asleepFault } from "./hold.ts";
import type { ContainerLease, Leases } from "./lease.ts";
import { checkOrigin, ORIGIN_WIDE_HEADERS, originLines, preflightResponse, readable, SERVICE_WORKER_RESPONSE } from "./origins.ts";

type DecideDeps = {
  directory: Directory;
  identity: Identity;
  leases: Leases;
  /** The control plane's API: it receives every request that is not for a container, unless `datagrok` is set. */
  api: ControlApi;
  datagrok?: DatagrokServer | undefined;
  readiness: GatewayReadiness;
  /** Default: none. */
  trusted?: TrustedProxies;
  origins: readonly string[];
  /** The host name of the console. Containers are not reachable under it. */
  consoleName?: string | undefined;
  /** Default: traces are forwarded, not recorded. */
  trace?: TraceContext | undefined;
  /** Default: browsers are held like other clients. */
  waiting?: WaitingPage | undefined;
  limits: Pick<GatewayLimits, "proxyRequestTimeoutMs" | "apiTimeoutMs" | "noWake">;
  clock: Clock;
  log: Log;
};

type DecideContext = Pick<DecideDeps, "directory" | "identity" | "leases" | "origins" | "waiting" | "limits"> & {
  trusted: TrustedProxies;
  edits: ForwardedEdits;
  isProbe: ProbeMatcher;
};

const HEALTH: ExchangeLabels = { route: "health" };

/** Container routes are decided here. Every other request goes to the API, which authenticates it. */
export function createDecide(deps: DecideDeps): Decide {
  const { origins, consoleName, readiness, identity, directory, limits, clock, log } = deps;
  const trusted = deps.trusted ?? createTrustedProxies([]);
  const edits = createForwardedEdits({ trusted, trace: deps.trace ?? createTraceContext() });
  const context: DecideContext = { ...deps, trusted, edits, isProbe: createProbeMatcher(limits.noWake) };
  const backend = deps.datagrok === undefined ? controlBackend(deps.api, trusted) : datagrokBackend(deps.datagrok);
  const toApi = { backend, edits, apiTimeoutMs: limits.apiTimeoutMs, origins };

  return (request) => {
    const { head } = request;
    const target = originForm(head.target);
    if (consoleName !== undefined && isForHost(head, consoleName)) return forwardToApi(toApi, request, target, true);
    const kind = routeKind(target);
    if (kind === undefined) {
      const health = readiness.answer(head, target);
      return health === undefined ? forwardToApi(toApi, request, target) : { kind: "answer", answer: health, labels: HEALTH };
    }
    const refuse = (error: unknown) => refusal(head, kind, error instanceof Fault ? error : loggedFault(log, error), origins);
    try {
      const until = clock.monotonic() + limits.proxyRequestTimeoutMs;
      const answer = browserResponse(head, origins);
      if (answer !== undefined) return { kind: "answer", answer, labels: { route: kind } };
      const route = parseRoute(kind, target);
      if (kind === "proxy-ws" && !head.upgrade) throw new Fault("REQUEST_INVALID", "This route is for WebSockets; HTTP requests go to /proxy/");
      const who = cachedCaller(identity, head);
      const view = who && directory.cached(route.id, who.caller);
      if (who?.from === "cookie") checkOrigin(head, origins);
      if (who !== undefined && view !== undefined) return toContainer(context, request, { route, who, view, until });
      return lookUp(context, request, route)
        .then((result) => toContainer(context, request, { route, ...result, until }))
        .catch((error: unknown) => {
          if (request.signal.aborted) throw error;
          return refuse(error);
        });
    } catch (error) {
      return refuse(error);
    }
  };
}

/** A call to a container. `path` is the target for the container with its query, byte for byte. */
type ContainerRoute = { kind: "proxy" | "proxy-ws"; id: string; path: string };

/** `proxy-ws` sends `CONNECTED`; an upgrade on `proxy` is passed through. */
const PREFIXES = { proxy: "/api/docker/containers/proxy/", "proxy-ws": "/api/docker/containers/proxy-ws/" } as const;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const UUID_LENGTH = 36;
/** Characters that may follow an id. */
const ID_ENDS = "/?#";

/** The kind of container call of an origin-form target; undefined for every other route. */
export function routeKind(target: string): ContainerRoute["kind"] | undefined {
  if (target.startsWith(PREFIXES.proxy)) return "proxy";
  return target.startsWith(PREFIXES["proxy-ws"]) ? "proxy-ws" : undefined;
}

/** Parses an origin-form target of `kind`. Faults: ID_INVALID. */
export function parseRoute(kind: ContainerRoute["kind"], target: string): ContainerRoute {
  const begin = PREFIXES[kind].length;
  const end = begin + UUID_LENGTH;
  const id = target.slice(begin, end);
  if (!UUID.test(id) || !(end === target.length || ID_ENDS.includes(target.charAt(end)))) {
    throw new Fault(
      "ID_INVALID",
      "A container id is a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12, e.g. 1b9f4f0c-5c8e-4c53-9a52-3f0b8e0f2d11",
    );
  }
  const path = target.slice(end);
  return { kind, id: id.toLowerCase(), path: path.startsWith("/") ? path : `/${path}` };
}

async function lookUp(
  { trusted, identity, directory, origins }: DecideContext,
  { head, peer, signal }: IncomingRequest,
  { id }: ContainerRoute,
): Promise<{ who: GatewayCaller; view: ContainerView }> {
  const client = trusted.clientOf(head.header("x-forwarded-for"), peer.address);
  const who = await authenticate(identity, head, signal, client);
  if (who.from === "cookie") checkOrigin(head, origins);
  const view = await directory.find(id, who.caller, signal);
  if (view === undefined) throw new Fault("CONTAINER_NOT_FOUND", `There is no container with the id ${id}`);
  return { who, view };
}

type AuthorizedRequest = { route: ContainerRoute; who: GatewayCaller; view: ContainerView; until: number };

function toContainer(context: DecideContext, request: IncomingRequest, { route, who, view, until }: AuthorizedRequest): Decision {
  const { caller } = who;
  const { head, peer, tls } = request;
  if (view.tcp !== undefined) throw notHttp(view, view.tcp.port);
  const isProbe = context.isProbe(head);
  if (isProbe && !isReachable(view)) throw asleepFault(view);
  const page = isProbe || route.kind === "proxy-ws" ? undefined : context.waiting?.(head, view, caller);
  // Without `answers`: the waiting page is not a response of the container.
  if (page !== undefined) return { kind: "answer", answer: page, labels: { route: route.kind, container: view.name, login: caller.login } };
  const edits = context.edits(head, peer, tls, credentialEdits(head, who));
  const { requestId, traceparent, traced } = edits;
  const kind = head.upgrade ? "websocket" : "http";
  const lease = context.leases.open({ view, caller, kind, isProbe, until, request, traceparent: traced?.holdTraceparent });
  const forward = new ForwardToContainer(context, head, lease, route.path, edits);
  const labels: ExchangeLabels = {
    route: route.kind,
    container: view.name,
    answers: lease.answers,
    login: caller.login,
    requestId,
    traceparent,
    traced,
  };
  return route.kind === "proxy-ws"
    ? { kind: "acceptWebSocket", forward, lease, user: caller.userId, labels }
    : { kind: "forward", forward, lease, labels };
}

/** Matches probes: requests that neither wake a container nor keep it awake. */
type ProbeMatcher = (head: Pick<Head, "header">) => boolean;

/** `rules`: `header`, or `header:part of its value`, in any case. */
export function createProbeMatcher(rules: readonly string[]): ProbeMatcher {
  const parsed = rules.map((rule) => {
    const [name = "", ...part] = rule.toLowerCase().split(":");
    return { name: name.trim(), part: part.join(":").trim() };
  });
  return ({ header }) => {
    for (const { name, part } of parsed) {
      const value = header(name);
      if (value !== undefined && value.toLowerCase().includes(part)) return true;
    }
    return false;
  };
}

function notHttp({ name }: ContainerView, port: number): Fault {
  return new Fault(
    "CONTAINER_NOT_HTTP",
    `${name} does not speak HTTP: connect to it with a client of its own protocol, at port ${port} of its TCP listener`,
  );
}

/** A probe is neither held nor wakes the container. */
function isReachable({ availability: { kind } }: ContainerView): boolean {
  return kind === "awake" || kind === "portless" || kind === "stopped";
}

/** Edits of informational responses, and of responses without headers of interest. */
const CONTAINER_EDITS: HeaderEdits = { remove: ORIGIN_WIDE_HEADERS, add: [], removeCookies: CONSOLE_COOKIES };
const REMOVED_WITH_BUSY = [...ORIGIN_WIDE_HEADERS, BUSY_HEADER];

/** Created for every request: an object of a class costs less than one with its own functions. */
class ForwardToContainer implements PlainForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly interim = CONTAINER_EDITS;
  readonly #head: Head;
  readonly #origins: readonly string[];
  readonly #lease: ContainerLease;

  constructor({ limits, origins }: Pick<DecideContext, "limits" | "origins">, head: Head, lease: ContainerLease, path: string, edits: HeaderEdits) {
    this.target = path;
    this.headTimeoutMs = limits.proxyRequestTimeoutMs;
    this.request = edits;
    this.#head = head;
    this.#origins = origins;
    this.#lease = lease;
  }

  response(received: ResponseHeadView, connectMs: number): HeaderEdits {
    const lease = this.#lease;
    const woken = lease.woken();
    if (woken !== undefined) lease.reportConnected(connectMs);
    const busy = received.header(BUSY_HEADER);
    if (busy !== undefined && /^\d{1,7}$/.test(busy)) lease.reportBusy(Number(busy));
    const remove = busy === undefined ? ORIGIN_WIDE_HEADERS : REMOVED_WITH_BUSY;
    const own: HeaderLine[] = woken === undefined ? [] : [["Server-Timing", formatServerTiming(woken.start, connectMs)]];
    // Most requests do not come from a page of another origin, and need no list of names.
    if (this.#head.header("origin") === undefined)
      return own.length === 0 && busy === undefined ? CONTAINER_EDITS : { ...CONTAINER_EDITS, remove, add: own };
    const names = [...received.names().filter((name) => !remove.includes(name)), ...own.map(([name]) => name.toLowerCase())];
    return { ...CONTAINER_EDITS, remove, add: [...own, ...originLines(this.#head, names, this.#origins)] };
  }

  respondTo(fault: Fault): DirectResponse {
    return readable(this.#head, containerErrorResponse(fault), this.#origins);
  }
}

/** The response to a preflight, or to the request for a service worker: neither needs a credential. */
function browserResponse(head: Head, origins: readonly string[]): DirectResponse | undefined {
  if (head.method === "OPTIONS") {
    const preflight = preflightResponse(head, origins);
    if (preflight !== undefined) return preflight;
  }
  return head.header("service-worker") === undefined ? undefined : SERVICE_WORKER_RESPONSE;
}

function isForHost({ header }: Head, name: string): boolean {
  return header("host")?.toLowerCase().replace(/:\d+$/, "") === name.toLowerCase();
}

/** A WebSocket client gets an accept and a close: it cannot show its user an HTTP error. */
function refusal(head: Head, kind: ContainerRoute["kind"], fault: Fault, origins: readonly string[]): Decision {
  const labels: ExchangeLabels = { route: kind, fault: fault.code };
  if (kind === "proxy-ws" && head.upgrade) return { kind: "refuseWebSocket", ...closeFor(fault), labels };
  return { kind: "answer", answer: readable(head, containerErrorResponse(fault), origins), labels };
}

function loggedFault(log: Log, error: unknown): Fault {
  log.error({ err: error }, "request not decided: internal error");
  return internalFault(error);
}
