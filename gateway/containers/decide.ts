import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { DirectResponse, IncomingRequest, Decide, Decision, Forward, Head, HeaderEdits, HeaderLine, ResponseHeadView } from "../decision.ts";
import { type ContainerView, type Directory, type Identity, BUSY_HEADER, CONSOLE_HEADER } from "../contract.ts";
import { phasesOf, type StartTimes } from "../../lib/start-phases.ts";
import type { ExchangeLabels } from "../access-record.ts";
import type { ControlApi } from "../feed/control-client.ts";
import { forwardedEdits, type ForwardedEdits, trustedProxies, type TrustedProxies } from "../forwarded-headers.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Readiness } from "../readiness.ts";
import { controlBackend, datagrokBackend, type DatagrokServer, type ApiBackend } from "../api-backend.ts";
import { openTraceContext, type TraceContext } from "../traces.ts";
import type { WaitingPage } from "../waiting/waiting-page.ts";
import { apiErrorResponse, containerErrorResponse, internalFault } from "../direct-responses.ts";
import { closeFor } from "../websockets/frames.ts";
import { authenticate, cachedCaller, type GatewayCaller, CONSOLE_COOKIES, credentialEdits, withoutConsoleCookies } from "./credentials.ts";
import type { ContainerLease, Leases } from "./lease.ts";
import { checkOrigin, originLines, preflightAnswer, readable, OF_THE_ORIGIN, serviceWorkerAnswer } from "./origins.ts";
import { asleepFault, type ProbeMatcher, createProbeMatcher } from "./wake-decision.ts";
import { originForm, readRoute, routeKind, type ContainerRoute } from "./route.ts";

export type DecideDeps = {
  directory: Directory;
  identity: Identity;
  leases: Leases;
  /** The control plane's API: where every request goes that is for no container, unless `datagrok` is there. */
  api: ControlApi;
  datagrok?: DatagrokServer | undefined;
  readiness: Readiness;
  /** The load balancers in front; none where it is left out. */
  trusted?: TrustedProxies;
  origins: readonly string[];
  /** The host name under which the console is served here; no container is reached under it. */
  consoleName?: string | undefined;
  /** Where traces go on; they are passed on alone where it is left out. */
  trace?: TraceContext | undefined;
  /** What browsers are shown meanwhile; they wait as everybody else where it is left out. */
  waiting?: WaitingPage | undefined;
  limits: Pick<GatewayLimits, "proxyRequestTimeoutMs" | "apiTimeoutMs" | "noWake">;
  clock: Clock;
  log: Log;
};

const HEALTH: ExchangeLabels = { route: "health" };
const NO_EDITS: HeaderEdits = { remove: [], add: [] };
/** Of a container's response without other headers of interest, an informational one among them. */
const CONTAINER_EDITS: HeaderEdits = { remove: OF_THE_ORIGIN, add: [], removeCookies: CONSOLE_COOKIES };
const REMOVED_WITH_BUSY = [...OF_THE_ORIGIN, BUSY_HEADER];

type DecideContext = DecideDeps & { noWake: ProbeMatcher; trusted: TrustedProxies; edits: ForwardedEdits; server: ApiBackend };

/** Container routes are answered for here; everything else is for the server behind, which authenticates for itself. */
export function createDecide(given: DecideDeps): Decide {
  const trusted = given.trusted ?? trustedProxies([]);
  const server = given.datagrok === undefined ? controlBackend(given.api, trusted) : datagrokBackend(given.datagrok);
  const parts: DecideContext = {
    ...given,
    noWake: createProbeMatcher(given.limits.noWake),
    trusted,
    edits: forwardedEdits({ trusted, trace: given.trace ?? openTraceContext() }),
    server,
  };
  return (asked) => {
    const target = originForm(asked.head.target);
    if (given.consoleName !== undefined && isFor(asked.head, given.consoleName)) return toServer(parts, asked, target, TO_CONSOLE);
    const kind = routeKind(target);
    if (kind === undefined) {
      const health = parts.readiness.answer(asked.head, target);
      return health === undefined ? toServer(parts, asked, target) : { kind: "answer", answer: health, labels: HEALTH };
    }
    const failed = (error: unknown) => refusal(asked.head, kind, error instanceof Fault ? error : logged(parts.log, error), parts.origins);
    try {
      const until = parts.clock.monotonic() + parts.limits.proxyRequestTimeoutMs;
      const answer = preflightAnswer(asked.head, parts.origins) ?? serviceWorkerAnswer(asked.head);
      if (answer !== undefined) return { kind: "answer", answer, labels: { route: kind } };
      const route = readRoute(kind, target);
      if (kind === "proxy-ws" && !asked.head.upgrade) throw new Fault("REQUEST_INVALID", "This route takes WebSockets; HTTP requests go to /proxy/");
      const who = cachedCaller(parts.identity, asked.head);
      const view = who && parts.directory.cached(route.id, who.caller);
      if (who !== undefined) checkPage(parts, asked.head, who);
      if (who !== undefined && view !== undefined) return toContainer(parts, asked, { route, who, view, until });
      return lookUp(parts, asked, route)
        .then((found) => toContainer(parts, asked, { route, ...found, until }))
        .catch((error: unknown) => {
          if (asked.signal.aborted) throw error;
          return failed(error);
        });
    } catch (error) {
      return failed(error);
    }
  };
}

async function lookUp(
  parts: DecideContext,
  { head, peer, signal }: IncomingRequest,
  { id }: ContainerRoute,
): Promise<{ who: GatewayCaller; view: ContainerView }> {
  const client = parts.trusted.clientOf(head.header("x-forwarded-for"), peer.address);
  const who = await authenticate(parts.identity, head, signal, client);
  checkPage(parts, head, who);
  const view = await parts.directory.find(id, who.caller, signal);
  if (view === undefined) throw new Fault("CONTAINER_NOT_FOUND", `There is no container with the id ${id}`);
  return { who, view };
}

type AuthorizedRequest = { route: ContainerRoute; who: GatewayCaller; view: ContainerView; until: number };

function checkPage({ origins }: DecideContext, head: Head, { from }: GatewayCaller): void {
  if (from === "cookie") checkOrigin(head, origins);
}

function toContainer(parts: DecideContext, asked: IncomingRequest, { route, who, view, until }: AuthorizedRequest): Decision {
  const { caller } = who;
  const { head, peer, tls } = asked;
  const isProbe = parts.noWake(head);
  if (isProbe && !isReachable(view)) throw asleepFault(view);
  const page = isProbe || route.kind === "proxy-ws" ? undefined : parts.waiting?.(head, view, caller);
  // A page that waits is not counted as the container's answer.
  if (page !== undefined) return { kind: "answer", answer: page, labels: { route: route.kind, container: view.name, login: caller.login } };
  const edits = parts.edits(head, peer, tls, credentialEdits(head, who));
  const { requestId, traceparent, traced } = edits;
  const lease = parts.leases.open({
    view,
    caller,
    kind: head.upgrade ? "websocket" : "http",
    isProbe,
    until,
    request: asked,
    traceparent: traced?.holdTraceparent,
  });
  const forward = new ToContainer(parts, head, lease, route.path, edits);
  const about: ExchangeLabels = {
    route: route.kind,
    container: view.name,
    answers: lease.answers,
    login: caller.login,
    requestId,
    traceparent,
    traced,
  };
  return route.kind === "proxy-ws"
    ? { kind: "acceptWebSocket", forward, lease, user: caller.userId, labels: about }
    : { kind: "forward", forward, lease, labels: about };
}

/** Whoever only looks in is not held either. */
function isReachable({ availability: { kind } }: ContainerView): boolean {
  return kind === "awake" || kind === "portless" || kind === "stopped";
}

/** One is made for every request: as an object of a class it costs less than one with functions of its own. */
class ToContainer implements Forward {
  readonly target: string;
  readonly headTimeoutMs: number;
  readonly request: HeaderEdits;
  readonly interim = CONTAINER_EDITS;
  readonly #head: Head;
  readonly #origins: readonly string[];
  readonly #lease: ContainerLease;

  constructor({ limits, origins }: DecideContext, head: Head, lease: ContainerLease, path: string, edits: HeaderEdits) {
    this.target = path;
    this.headTimeoutMs = limits.proxyRequestTimeoutMs;
    this.request = edits;
    this.#head = head;
    this.#origins = origins;
    this.#lease = lease;
  }

  response(received: ResponseHeadView, connectMs: number): HeaderEdits {
    return responseEdits(this.#head, this.#origins, this.#lease, received, connectMs);
  }

  respondTo(fault: Fault): DirectResponse {
    return readable(this.#head, containerErrorResponse(fault), this.#origins);
  }
}

const TO_CONSOLE: HeaderLine = [CONSOLE_HEADER, "1"];

function isFor({ header }: Head, name: string): boolean {
  return header("host")?.toLowerCase().replace(/:\d+$/, "") === name.toLowerCase();
}

function toServer(
  { server, edits, limits, origins }: DecideContext,
  { head, peer, tls }: IncomingRequest,
  target: string,
  toConsole?: HeaderLine,
): Decision {
  const own = toConsole === undefined ? consoleEdits(head) : undefined;
  const { remove, add, requestId, traceparent, traced } = edits(head, peer, tls, own);
  const more = server.edits(head, peer);
  const forward: Forward = {
    target: server.pathOf(target),
    headTimeoutMs: limits.apiTimeoutMs,
    request: { remove: [...remove, ...more.remove], add: [...add, ...more.add, ...(toConsole === undefined ? [] : [toConsole])] },
    response: () => NO_EDITS,
    respondTo: (fault) => readable(head, apiErrorResponse(server.faultOf(fault)), origins),
  };
  return { kind: "forward", forward, lease: server.lease, labels: { route: "api", requestId, traceparent, traced } };
}

/** No server behind is sent the cookies of berth's consoles. */
function consoleEdits({ header }: Head): HeaderEdits | undefined {
  const cookie = header("cookie");
  const kept = cookie === undefined ? undefined : withoutConsoleCookies(cookie);
  if (cookie === undefined || kept === undefined || kept === cookie) return undefined;
  return { remove: ["cookie"], add: kept === "" ? [] : [["Cookie", kept]] };
}

/** What a WebSocket client gets is an accept and a close: an HTTP error shows its user nothing useful. */
function refusal(head: Head, kind: ContainerRoute["kind"], fault: Fault, origins: readonly string[]): Decision {
  const about: ExchangeLabels = { route: kind, fault: fault.code };
  if (kind === "proxy-ws" && head.upgrade) return { kind: "refuseWebSocket", ...closeFor(fault), labels: about };
  return { kind: "answer", answer: readable(head, containerErrorResponse(fault), origins), labels: about };
}

function responseEdits(head: Head, origins: readonly string[], lease: ContainerLease, received: ResponseHeadView, connectMs: number): HeaderEdits {
  const woken = lease.woken();
  if (woken !== undefined) lease.reportConnected(connectMs);
  const busy = received.header(BUSY_HEADER);
  if (busy !== undefined && /^\d{1,7}$/.test(busy)) lease.reportBusy(Number(busy));
  const remove = busy === undefined ? OF_THE_ORIGIN : REMOVED_WITH_BUSY;
  const own: HeaderLine[] = woken === undefined ? [] : [["Server-Timing", serverTiming(woken.start, connectMs)]];
  // Most callers are no page of another origin, and need no list of names.
  if (head.header("origin") === undefined) return own.length === 0 && busy === undefined ? CONTAINER_EDITS : { ...CONTAINER_EDITS, remove, add: own };
  return {
    ...CONTAINER_EDITS,
    remove,
    add: [
      ...own,
      ...originLines(head, [...received.names().filter((name) => !remove.includes(name)), ...own.map(([name]) => name.toLowerCase())], origins),
    ],
  };
}

function logged(log: Log, error: unknown): Fault {
  log.error({ err: error }, "A request could not be decided on");
  return internalFault(error);
}

/** Where the time of a wake went (W3C Server Timing). */
export function serverTiming(start: StartTimes | undefined, connectMs: number): string {
  return [...phasesOf(start ?? {}), ["connect", connectMs] as const].map(([name, ms]) => `${name};dur=${ms.toFixed(1)}`).join(", ");
}
