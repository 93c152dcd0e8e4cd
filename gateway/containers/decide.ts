import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Log } from "../../log.ts";
import type { Decide, Decision, Forward, Head, HeaderEdits, HeaderLine, Lease, Peer, ResponseHead } from "../decision.ts";
import type { Directory } from "../directory.ts";
import { forwardedEdits } from "../forwarded.ts";
import type { Identity } from "../identity.ts";
import type { GatewayLimits } from "../limits.ts";
import { apiAnswer, containerAnswer, internalFault } from "./answers.ts";
import { closeFor } from "./close-codes.ts";
import { authenticate } from "./authenticate.ts";
import type { ContainerLease, Leases } from "./lease.ts";
import { checkOrigin, originLines, preflightAnswer, readable } from "./origins.ts";
import { originForm, readRoute, routeKind, type ContainerRoute } from "./route.ts";
import { serverTiming } from "./server-timing.ts";

export type DecideParts = {
  directory: Directory;
  identity: Identity;
  leases: Leases;
  apiSocket: string;
  origins: readonly string[];
  limits: Pick<GatewayLimits, "proxyRequestTimeoutMs" | "apiTimeoutMs">;
  clock: Clock;
  log: Log;
};

type Asked = Parameters<Decide>[0];

/** Container routes are answered for here; everything else is the control plane's API, which authenticates for itself. */
export function openDecide(parts: DecideParts): Decide {
  return async (asked) => {
    const target = originForm(asked.head.target);
    const kind = routeKind(target);
    if (kind === undefined) return toApi(parts, asked, target);
    try {
      return preflight(parts, asked.head) ?? (await toContainer(parts, asked, readRoute(kind, target)));
    } catch (error) {
      if (asked.signal.aborted) throw error;
      return refusal(asked.head, kind, error instanceof Fault ? error : logged(parts.log, error), parts.origins);
    }
  };
}

async function toContainer(parts: DecideParts, { head, peer, tls, signal }: Asked, route: ContainerRoute): Promise<Decision> {
  const until = parts.clock.monotonic() + parts.limits.proxyRequestTimeoutMs;
  if (route.kind === "proxy-ws" && !head.upgrade) throw new Fault("REQUEST_INVALID", "This route takes WebSockets; HTTP requests go to /proxy/");
  const { caller, from } = await authenticate(parts.identity, head, signal);
  if (from === "cookie") checkOrigin(head, parts.origins);
  const view = await parts.directory.find(route.id, caller, signal);
  if (view === undefined) throw new Fault("CONTAINER_NOT_FOUND", `There is no container with the id ${route.id}`);
  const lease = parts.leases.open({ view, caller, kind: head.upgrade ? "websocket" : "http", until, signal });
  const forward: Forward = {
    target: route.path,
    headTimeoutMs: parts.limits.proxyRequestTimeoutMs,
    request: requestEdits(head, peer, tls, caller.token),
    response: (received) => responseEdits(head, parts.origins, lease, received),
    answerTo: (fault) => readable(head, containerAnswer(fault), parts.origins),
  };
  return { kind: route.kind === "proxy-ws" ? "acceptWebSocket" : "forward", forward, lease };
}

function toApi(parts: DecideParts, { head, peer, tls }: Asked, target: string): Decision {
  const socket = { socketPath: parts.apiSocket };
  const away = () => new Fault("CONTROL_AWAY", "The control plane is away; it should be back in a moment", { retryAfterMs: 1_000 });
  const lease: Lease = {
    target: () => Promise.resolve(socket),
    lost: () => Promise.reject(away()),
    whenGone: () => () => undefined,
    bytes: () => undefined,
    release: () => undefined,
  };
  const forward: Forward = {
    target,
    headTimeoutMs: parts.limits.apiTimeoutMs,
    request: forwardedEdits(head, peer, tls),
    response: () => ({ remove: [], add: [] }),
    answerTo: (fault) => readable(head, apiAnswer(fault.status === 502 ? away() : fault), parts.origins),
  };
  return { kind: "forward", forward, lease };
}

function preflight(parts: DecideParts, head: Head): Decision | undefined {
  const answer = preflightAnswer(head, parts.origins);
  return answer === undefined ? undefined : { kind: "answer", answer };
}

/** What a WebSocket client gets is an accept and a close: an HTTP error shows its user nothing useful. */
function refusal(head: Head, kind: ContainerRoute["kind"], fault: Fault, origins: readonly string[]): Decision {
  if (kind === "proxy-ws" && head.upgrade) return { kind: "refuseWebSocket", ...closeFor(fault) };
  return { kind: "answer", answer: readable(head, containerAnswer(fault), origins) };
}

function requestEdits(head: Head, peer: Peer, tls: boolean, token: string): HeaderEdits {
  const { remove, add } = forwardedEdits(head, peer, tls);
  return { remove, add: head.header("x-user-api-key") === undefined ? [...add, ["x-user-api-key", token]] : add };
}

function responseEdits(head: Head, origins: readonly string[], lease: ContainerLease, { connectMs, names }: ResponseHead): HeaderEdits {
  const woken = lease.woken();
  const own: HeaderLine[] = woken === undefined ? [] : [["Server-Timing", serverTiming(woken.start, connectMs)]];
  // Most callers are no page of another origin, and need no list of names.
  if (head.header("origin") === undefined) return { remove: [], add: own };
  return { remove: [], add: [...own, ...originLines(head, [...names(), ...own.map(([name]) => name.toLowerCase())], origins)] };
}

function logged(log: Log, error: unknown): Fault {
  log.error({ err: error }, "A request could not be decided on");
  return internalFault(error);
}
