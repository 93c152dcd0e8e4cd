import type { Clock } from "../lib/clock.ts";
import { createConnectionLimits } from "../lib/connection-limits.ts";
import type { Log } from "../lib/log.ts";
import { createDecide } from "./containers/decide.ts";
import { startRevocationChecks } from "./containers/end-revoked-exchanges.ts";
import { createHold } from "./containers/hold.ts";
import { createLeases } from "./containers/lease.ts";
import { createOpenExchanges, type OpenExchanges } from "./containers/open-exchanges.ts";
import { answersOf, createExchangeObserver, type ExchangeListener } from "./access-record.ts";
import type { ContainerView, Directory, Identity } from "./contract.ts";
import type { ControlApi } from "./feed/control-client.ts";
import type { ForwardingEngine, ForwardingEngineDeps, EngineName } from "./connections/engine.ts";
import { dialCounts } from "./connections/dial.ts";
import { createConnectionFactory, type ConnectionFactory } from "./connections/open-connections.ts";
import { openTcpListeners, type TcpListenersDeps } from "./tcp/open-tcp-listeners.ts";
import { openSpliceEngine } from "./exchange/open-splice-engine.ts";
import { type Metrics, openMetrics } from "../lib/metrics/open-metrics.ts";
import { type ConfiguredLimits, FIXED_LIMITS, type FixedLimits } from "./limits.ts";
import { createReadiness, type GatewayReadiness } from "./readiness.ts";
import type { DatagrokServer } from "./api-backend.ts";
import { type Callout, type CalloutOptions, openCallout } from "./callout/open-callout.ts";
import type { TlsKeys } from "./tls-keys.ts";
import { createWaitingPage, type PageFiles } from "./waiting/waiting-page.ts";
import type { TraceContext } from "./trace-context.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

type GatewayDeps = {
  directory: Directory;
  identity: Identity;
  /** Records the open exchanges. Default: one of its own. */
  exchanges?: OpenExchanges;
  /** The control plane's API: it receives every request that is not for a container, unless `datagrok` is set. */
  api: ControlApi;
  datagrok?: DatagrokServer | undefined;
  /** Default: always ready. */
  readiness?: GatewayReadiness;
  forwarder?: EngineName;
  /** Of the splice engine. */
  connections?: ConnectionFactory;
  /** The load balancers in front. Default: none. */
  trusted?: TrustedProxies;
  /** Makes the edge a TLS server. The caller closes them. */
  tls?: TlsKeys | undefined;
  /** Offers HTTP/2 to TLS clients; the splice engine only. */
  http2?: boolean;
  limits: ConfiguredLimits & Partial<FixedLimits>;
  /** Origins of pages that may call with a cookie (`BERTH_ORIGINS`), e.g. `https://stand.example.com`. */
  origins: readonly string[];
  /** The host name under which the edge serves the console (`BERTH_CONSOLE_HOST`). */
  consoleName?: string | undefined;
  metrics?: Metrics;
  watchers?: readonly ExchangeListener[];
  /** Receives finished exchanges, of which it reads no header. */
  recent?: ExchangeListener | undefined;
  /** Opens TCP listeners of containers. Default: none. */
  tcp?: Pick<TcpListenersDeps, "source" | "host" | "perContainer" | "guard"> | undefined;
  /** The listener at which proxies of the operator ask for decisions. Default: none. */
  callout?: CalloutOptions | undefined;
  /** Default: traces are forwarded, not recorded. */
  trace?: TraceContext | undefined;
  /** The page that browsers show while a container starts. Default: their requests are held. */
  waitingFiles?: PageFiles | undefined;
  clock: Clock;
  log: Log;
};

/** http-proxy is loaded where it is chosen: it takes 40 ms of processor time in each gateway. */
const ENGINES: Record<EngineName, () => Promise<(deps: ForwardingEngineDeps) => ForwardingEngine>> = {
  splice: async () => openSpliceEngine,
  "http-proxy": async () => (await import("./http-proxy/open-http-proxy-engine.ts")).openHttpProxyEngine,
};

/** Composes the edge from `decide` and an engine. The caller closes the directory and the identity. */
export async function openGateway(deps: GatewayDeps): Promise<EdgeGateway> {
  const openEngine = await ENGINES[deps.forwarder ?? "splice"]();
  const { directory, identity, clock, log } = deps;
  const limits = { ...FIXED_LIMITS, ...deps.limits };
  const metrics = deps.metrics ?? openMetrics();
  const hold = createHold({
    directory,
    clock,
    limit: limits.holdLimit,
    timeoutMs: limits.proxyRequestTimeoutMs,
    ofUser: { ofContainer: limits.holdUserLimit, ofAll: limits.holdUserTotal },
    counts: metrics,
  });
  const exchanges = deps.exchanges ?? createOpenExchanges();
  const { suspectAddressMs, proxyRequestTimeoutMs: holdMs } = limits;
  const { placeWaits, placeWaitSeconds } = metrics;
  const counts = { answersOf: (view: ContainerView) => answersOf(metrics, view), placeWaits, placeWaitSeconds };
  const leases = createLeases({ directory, hold, exchanges, clock, suspectAddressMs, holdMs, ...counts });
  const waiting = deps.waitingFiles && createWaitingPage({ directory, clock, files: deps.waitingFiles });
  const sendsAgain = (deps.forwarder ?? "splice") === "splice";
  const decide = createDecide({ ...deps, sendsAgain, waiting, readiness: deps.readiness ?? createReadiness("ready"), leases, limits });
  const connections = deps.connections ?? createConnectionFactory();
  const bounds = createConnectionLimits({
    perAddress: limits.connectionsPerAddress,
    total: limits.connectionsTotal,
    isExempt: (address) => deps.trusted?.trusts(address) === true,
    refused: metrics.refusedConnections,
    clock,
    log,
  });
  const observer = createExchangeObserver(metrics, deps.watchers ?? [], deps.recent);
  const engine = openEngine({ decide, limits, connections, tls: deps.tls, http2: deps.http2, bounds, watch: observer, counts: metrics, clock, log });
  const tcp =
    deps.tcp &&
    openTcpListeners({
      ...deps.tcp,
      directory,
      leases,
      connections,
      dials: dialCounts(metrics, { clock, log }),
      observer,
      limits,
      bounds,
      counts: metrics,
      clock,
      log,
    });
  const callout =
    deps.callout &&
    (await openCallout({ decide, directory, identity, leases, connections, observer, origins: deps.origins, limits, clock, log }, deps.callout));
  const revocationChecks = startRevocationChecks({ exchanges, identity, directory, clock });
  const close = async () => {
    revocationChecks.close();
    await Promise.all([engine.close(), tcp?.close(), callout?.close()]);
  };
  const drain = async (ms: number) => {
    await Promise.all([engine.drain(ms), tcp?.drain(ms), callout?.drain(ms)]);
    revocationChecks.close();
  };
  return { server: engine.server, callout, drain, close };
}

type EdgeGateway = ForwardingEngine & { callout: Callout | undefined };

export type { EdgeGateway as Gateway };
