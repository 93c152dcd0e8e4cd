import { permittedOrigin } from "../../lib/browser-requests.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { ExchangeLabels } from "../access-record.ts";
import { controlBackend, datagrokBackend, type DatagrokServer, forwardToApi } from "../api-backend.ts";
import { type ContainerView, type Directory, type Identity, BUSY_HEADER } from "../contract.ts";
import type {
  Decide,
  Decision,
  DirectResponse,
  Head,
  IncomingRequest,
  HeaderEdits,
  HeaderLine,
  PlainForward,
  ResponseHeadView,
} from "../decision.ts";
import { containerErrorResponse, internalFault } from "../direct-responses.ts";
import type { ControlApi } from "../feed/control-client.ts";
import { createForwardedEdits, type ForwardedEdits } from "../forwarded-headers.ts";
import { originForm } from "../http1/message-heads.ts";
import type { GatewayLimits } from "../limits.ts";
import type { GatewayReadiness } from "../readiness.ts";
import { createTraceContext, type TraceContext } from "../trace-context.ts";
import { createTrustedProxies, type TrustedProxies } from "../trusted-proxies.ts";
import { isNavigation, type WaitingPage } from "../waiting/waiting-page.ts";
import { closeFor } from "../websockets/frames.ts";
import { authenticate, cachedCaller, type GatewayCaller, CONSOLE_COOKIES } from "./credentials.ts";
import { asleepFault } from "./hold.ts";
import { preferredReplica, replicaCookie } from "./replicas.ts";
import type { Leases, ContainerLease } from "./lease.ts";
import { checkOrigin, preflightResponse, readable, SERVICE_WORKER_RESPONSE, ORIGIN_WIDE_HEADERS, originLines } from "./origins.ts";
import { createProbeMatcher, type ProbeMatcher, cachedContainer, type ContainerRoute, mayHaveId, parseRoute, pathIn, routeKind } from "./route.ts";
import { formatServerTiming } from "../../lib/start-phases.ts";

type DecideDeps = {
  directory: Directory;
  identity: Identity;
  leases: Leases;
  /** The control plane's API: it receives every request that is not for a container, unless `datagrok` is set. */
  api: ControlApi;
  /** The engine sends requests that may be repeated again. */
  sendsAgain: boolean;
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

type DecideContext = Pick<DecideDeps, "directory" | "identity" | "leases" | "origins" | "waiting" | "limits" | "clock" | "log"> & {
  trusted: TrustedProxies;
  edits: ForwardedEdits;
  isProbe: ProbeMatcher;
  /** Users sign in at the console; false: at a Datagrok server. */
  isConsoleSignIn: boolean;
};

const HEALTH: ExchangeLabels = { route: "health" };

/** Container routes are decided here. Every other request goes to the API, which authenticates it. */
export function createDecide(deps: DecideDeps): Decide {
  const { origins, consoleName, readiness, limits } = deps;
  const trusted = deps.trusted ?? createTrustedProxies([]);
  const edits = createForwardedEdits({ trusted, trace: deps.trace ?? createTraceContext() });
  const context: DecideContext = {
    ...deps,
    trusted,
    edits,
    isProbe: createProbeMatcher(limits.noWake),
    isConsoleSignIn: deps.datagrok === undefined,
  };
  const backend = deps.datagrok === undefined ? controlBackend(deps.api, trusted, deps.sendsAgain) : datagrokBackend(deps.datagrok);
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
    try {
      return decideOnContainer(context, request, kind, target);
    } catch (error) {
      return refusal(context, head, kind, error);
    }
  };
}

/** Faults: those of the decision. */
function decideOnContainer(
  context: DecideContext,
  request: IncomingRequest,
  kind: ContainerRoute["kind"],
  target: string,
): Decision | Promise<Decision> {
  const { head } = request;
  const { identity, directory, origins } = context;
  const answer = browserResponse(head, origins);
  if (answer !== undefined) return { kind: "answer", answer, labels: { route: kind } };
  const isHttpOnly = kind === "proxy-ws" && !head.upgrade;
  const who = isHttpOnly || !mayHaveId(kind, target) ? undefined : cachedCaller(identity, head);
  const view = who && cachedContainer(directory, head, kind, target, who.caller);
  if (who !== undefined && view !== undefined) {
    if (who.from === "cookie") checkOrigin(head, origins);
    return toContainer(context, request, kind, pathIn(kind, target), who, view, undefined);
  }
  const route = parseRoute(kind, target);
  if (isHttpOnly) throw new Fault("REQUEST_INVALID", "This route is for WebSockets; HTTP requests go to /proxy/");
  const until = context.clock.monotonic() + context.limits.proxyRequestTimeoutMs;
  return lookUp(context, request, route)
    .then((result) => toContainer(context, request, kind, route.path, result.who, result.view, until))
    .catch((error: unknown) => {
      if (request.signal.aborted) throw error;
      return refusal(context, head, kind, error);
    });
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

/** `until`: when waiting for the container ends; undefined: the request has just come. */
function toContainer(
  context: DecideContext,
  request: IncomingRequest,
  kind: ContainerRoute["kind"],
  path: string,
  who: GatewayCaller,
  view: ContainerView,
  until: number | undefined,
): Decision {
  const { caller } = who;
  const { head, peer, tls } = request;
  if (view.tcp !== undefined) throw notHttp(view, view.tcp.port);
  const isProbe = context.isProbe(head);
  if (isProbe && !isReachable(view)) throw asleepFault(view);
  const page = isProbe || kind === "proxy-ws" ? undefined : context.waiting?.respond(head, view, caller);
  // Without `answers`: the waiting page is not a response of the container.
  if (page !== undefined) return { kind: "answer", answer: page, labels: { route: kind, container: view.name, login: caller.login } };
  const edits = context.edits(head, peer, tls, who.edits);
  const { ids, traced } = edits;
  const affine = view.replicas?.affinity === "cookie";
  const replica = affine ? preferredReplica(head.header("cookie"), view.id) : undefined;
  const lease = context.leases.open({
    view,
    caller,
    kind: head.upgrade ? "websocket" : "http",
    isProbe,
    replica,
    until,
    request,
    traceparent: traced?.holdTraceparent,
  });
  const origin = permittedOrigin(head.header("origin"), context.origins);
  const affinity = affine ? { id: view.id, replica, tls: tls || head.header("x-forwarded-proto") === "https" } : undefined;
  const pages = kind === "proxy" ? context.waiting : undefined;
  const forward = new ForwardToContainer(lease, path, edits, context.limits.proxyRequestTimeoutMs, { head, origin, pages, affinity });
  const labels: ExchangeLabels = { route: kind, container: view.name, answers: lease.answers, login: caller.login, ids, traced };
  return kind === "proxy-ws" ? { kind: "acceptWebSocket", forward, lease, user: caller.userId, labels } : { kind: "forward", forward, lease, labels };
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

/** The response to a preflight, or to the request for a service worker: neither needs a credential. */
function browserResponse(head: Head, origins: readonly string[]): DirectResponse | undefined {
  if (head.method === "OPTIONS") {
    const preflight = preflightResponse(head, origins);
    if (preflight !== undefined) return preflight;
  }
  return head.header("service-worker") === undefined ? undefined : SERVICE_WORKER_RESPONSE;
}

function isForHost(head: Head, name: string): boolean {
  return head.header("host")?.toLowerCase().replace(/:\d+$/, "") === name.toLowerCase();
}

/** A WebSocket client gets an accept and a close: it cannot show its user an HTTP error. */
function refusal(
  { origins, log, isConsoleSignIn, waiting }: Pick<DecideContext, "origins" | "log" | "isConsoleSignIn" | "waiting">,
  head: Head,
  kind: ContainerRoute["kind"],
  error: unknown,
): Decision {
  const fault = error instanceof Fault ? error : loggedFault(log, error);
  const labels: ExchangeLabels = { route: kind, fault: fault.code };
  const signIn = kind === "proxy" && isConsoleSignIn && fault.status === 401 ? signInResponse(head) : undefined;
  if (signIn !== undefined) return { kind: "answer", answer: signIn, labels };
  if (kind === "proxy-ws" && head.upgrade) return { kind: "refuseWebSocket", ...closeFor(fault), labels };
  const pages = kind === "proxy" ? waiting : undefined;
  return { kind: "answer", answer: faultResponse({ head, origin: permittedOrigin(head.header("origin"), origins), pages }, fault), labels };
}

/** What the form of an error response depends on. `origin`: of the request's page, if it is permitted to read the response. */
type ErrorReader = { head: Head; origin: string | undefined; pages: WaitingPage | undefined };

/** A page for a browser that navigates; JSON for all others. */
function faultResponse({ head, origin, pages }: ErrorReader, fault: Fault): DirectResponse {
  return readable(origin, pages?.refuse(head, fault) ?? containerErrorResponse(fault));
}

const CONTAINER_ID = /\/proxy\/([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?:[/?]|$)/i;

/** Sends a signed-out user who opens a container's address to the console, which returns here after the sign-in. The console has an origin of its own. */
function signInResponse(head: Head): DirectResponse | undefined {
  const id = head.method === "GET" && isNavigation(head) ? CONTAINER_ID.exec(head.target)?.[1] : undefined;
  if (id === undefined) return undefined;
  const headers: HeaderLine[] = [
    ["Location", `/console?open=${id.toLowerCase()}`],
    ["Content-Length", "0"],
    ["Cache-Control", "no-store"],
  ];
  return { status: 302, reason: "Found", headers, body: "" };
}

function loggedFault(log: Log, error: unknown): Fault {
  log.error({ err: error }, "request not decided: internal error");
  return internalFault(error);
}

/** Edits of informational responses, and of responses without headers of interest. */
const CONTAINER_EDITS: HeaderEdits = { remove: ORIGIN_WIDE_HEADERS, add: [], removeCookies: CONSOLE_COOKIES };
const REMOVED_WITH_BUSY = [...ORIGIN_WIDE_HEADERS, BUSY_HEADER];

/** Of a container that keeps a browser at one replica. `replica`: the one that its cookie names. */
type Affinity = { id: string; replica: number | undefined; tls: boolean };

/** Undefined: the browser has the right one. One that had no place for this request stays the right one. */
function cookieOf({ id, replica, tls }: Affinity, lease: ContainerLease): HeaderLine | undefined {
  if (lease.replica === undefined || lease.replica === replica) return undefined;
  const { availability } = lease.currentView();
  const isThere = replica !== undefined && availability.kind === "awake" && availability.addresses.some((address) => address.replica === replica);
  return isThere ? undefined : replicaCookie(id, lease.replica, tls);
}

type ContainerClient = ErrorReader & { affinity: Affinity | undefined };

/** Created for every request: an object of a class costs less than one with its own functions. */
class ForwardToContainer implements PlainForward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly interim = CONTAINER_EDITS;
  readonly #lease: ContainerLease;
  readonly #client: ContainerClient;

  constructor(lease: ContainerLease, target: string, edits: HeaderEdits, headTimeoutMs: number, client: ContainerClient) {
    this.target = target;
    this.headTimeoutMs = headTimeoutMs;
    this.request = edits;
    this.#lease = lease;
    this.#client = client;
  }

  response(received: ResponseHeadView, connectMs: number): HeaderEdits {
    const lease = this.#lease;
    const woken = lease.woken();
    if (woken !== undefined) lease.reportConnected(connectMs);
    const busy = received.header(BUSY_HEADER);
    if (busy !== undefined && /^\d{1,7}$/.test(busy)) lease.reportBusy(Number(busy));
    const { affinity, origin } = this.#client;
    const cookie = affinity === undefined ? undefined : cookieOf(affinity, lease);
    // Most requests do not come from a page of another origin, and need no list of names.
    if (woken === undefined && busy === undefined && cookie === undefined && origin === undefined) return CONTAINER_EDITS;
    const remove = busy === undefined ? ORIGIN_WIDE_HEADERS : REMOVED_WITH_BUSY;
    const add: HeaderLine[] = woken === undefined ? [] : [["Server-Timing", formatServerTiming(woken.start, connectMs)]];
    if (cookie !== undefined) add.push(cookie);
    if (origin !== undefined) {
      const names = received.names().filter((name) => !remove.includes(name));
      if (woken !== undefined) names.push("server-timing");
      add.push(...originLines(origin, names));
    }
    return { remove, add, removeCookies: CONSOLE_COOKIES };
  }

  respondTo(fault: Fault): DirectResponse {
    return faultResponse(this.#client, fault);
  }
}
