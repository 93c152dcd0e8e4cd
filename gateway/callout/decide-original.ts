import { isIP } from "node:net";
import { permittedOrigin } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { ExchangeLabels } from "../access-record.ts";
import { type ContainerLease, isContainerLease } from "../containers/lease.ts";
import { type ProbeMatcher, routeKind } from "../containers/route.ts";
import type { ContainerAddress, ContainerView } from "../contract.ts";
import type { Decide, DirectResponse, ForwardTarget } from "../decision.ts";
import { internalFault } from "../direct-responses.ts";
import type { GatewayLimits } from "../limits.ts";
import { type AllowedRequest, AT_EDGE } from "./callout-response.ts";
import type { ContainerUses } from "./container-uses.ts";
import type { OriginalRequest } from "./original-request.ts";
import type { DecisionChanges } from "./recent-changes.ts";

export type OriginalContext = {
  /** The decision of the edge. */
  decide: Decide;
  uses: ContainerUses;
  changes: DecisionChanges;
  origins: readonly string[];
  isProbe: ProbeMatcher;
  limits: Pick<GatewayLimits, "noWake">;
  log: Log;
};

/** What the proxy does with its client's request; a refusal is not yet in the form that the proxy reads. */
export type CalloutOutcome = { labels: ExchangeLabels } & ({ kind: "allow"; allowed: AllowedRequest } | { kind: "refuse"; answer: DirectResponse });

export const CALLOUT_LABELS: ExchangeLabels = { route: "callout" };

/** Waits until the container is ready, as the edge would. Rejects with the signal's reason when the proxy has left. */
export async function decideOriginal(context: OriginalContext, { request, proxy }: Omit<OriginalRequest, "style">): Promise<CalloutOutcome> {
  const { decide, log, origins, uses, changes, isProbe, limits } = context;
  const { head, signal } = request;
  // The edge counts the container's responses; these are berth's own.
  const labelsOf = (labels?: ExchangeLabels): ExchangeLabels => ({ ...labels, route: "callout", answers: undefined });
  const refuse = (answer: DirectResponse, labels?: ExchangeLabels): CalloutOutcome => ({ kind: "refuse", answer, labels: labelsOf(labels) });
  const kind = routeKind(head.target);
  // `proxy-ws` speaks a protocol of berth's own, and only the edge adds what lets a page of another origin read the response.
  if (kind !== "proxy" || permittedOrigin(head.header("origin"), origins) !== undefined) return refuse(AT_EDGE);
  const decision = await decide(request);
  const { labels } = decision;
  if (decision.kind === "answer") return refuse(decision.answer, labels);
  if (decision.kind !== "forward" || !isContainerLease(decision.lease)) return refuse(AT_EDGE, labels);
  const { lease, forward } = decision;
  try {
    // Only the edge ends a WebSocket when its caller's session ends.
    if (head.upgrade || needsEdge(lease.currentView())) return refuse(AT_EDGE, labels);
    const address = directAddress(await targetOf(lease));
    const view = lease.currentView();
    if (address === undefined || needsEdge(view)) return refuse(AT_EDGE, labels);
    changes.follow(view);
    const began = isProbe(head) ? undefined : uses.begin(view, proxy);
    const varies = variesOf(limits.noWake);
    const allowed = { id: view.id, address, path: forward.target, head, edits: forward.request, lease: began, varies };
    return { kind: "allow", allowed, labels: labelsOf(labels) };
  } catch (error) {
    if (signal.aborted) throw error;
    const fault = faultOf(error, log);
    return refuse(forward.respondTo(fault), { route: "callout", ...labels, fault: fault.code });
  } finally {
    lease.release();
  }
}

export function faultOf(error: unknown, log: Log): Fault {
  if (error instanceof Fault) return error;
  log.error({ err: error }, "callout not decided: internal error");
  return internalFault(error);
}

/** The lease's target, unless the caller's session ends while the request waits for it. */
function targetOf(lease: ContainerLease): Promise<ForwardTarget> {
  return new Promise((resolve, reject) => {
    lease.setHolder?.({ revoke: reject });
    void Promise.resolve(lease.target()).then(resolve, reject);
  });
}

/**
 * Only the edge knows which requests are open: it limits their number, and of replicas it chooses the one for each, keeps browsers there, and has a stop wait
 * for the requests of that one alone.
 */
function needsEdge({ maxConcurrency, replicas }: ContainerView): boolean {
  return maxConcurrency !== undefined || replicas !== undefined;
}

/** An address to which every proxy can connect without a look-up. Undefined: the edge connects there. */
function directAddress(target: ForwardTarget): ContainerAddress | undefined {
  if (!("host" in target) || target.h2c === true || target.tls !== undefined || isIP(target.host) === 0) return undefined;
  return { host: target.host, port: target.port };
}

/** The headers by which a request is a probe. */
function variesOf(noWake: readonly string[]): string[] {
  return noWake.map((rule) => rule.toLowerCase().split(":", 1)[0]?.trim() ?? "");
}
