import type { Clock } from "../lib/clock.ts";
import { createConnectionLimits } from "../lib/connection-limits.ts";
import type { Log } from "../lib/log.ts";
import { createDecide } from "./containers/decide.ts";
import { endRevokedExchanges } from "./containers/end-revoked-exchanges.ts";
import { createHold } from "./containers/hold.ts";
import { createLeases } from "./containers/lease.ts";
import { answersOf, createExchangeObserver, type ExchangeListener } from "./access-record.ts";
import type { Directory, Identity } from "./contract.ts";
import type { ControlApi } from "./feed/control-client.ts";
import type { ForwardingEngine, ForwardingEngineDeps, EngineName } from "./connections/engine.ts";
import { openHttpProxyEngine } from "./http-proxy/open-http-proxy-engine.ts";
import type { ReadMode } from "./connections/open-connections.ts";
import { openSpliceEngine } from "./exchange/open-splice-engine.ts";
import { type Metrics, openMetrics } from "../lib/metrics/open-metrics.ts";
import { type ConfiguredLimits, FIXED_LIMITS, type FixedLimits } from "./limits.ts";
import { openReadiness, type Readiness } from "./readiness.ts";
import type { DatagrokServer } from "./api-backend.ts";
import type { TlsKeys } from "./tls-keys.ts";
import type { TraceContext } from "./traces.ts";
import { createWaitingPage, type PageFiles } from "./waiting/waiting-page.ts";
import type { TrustedProxies } from "./forwarded-headers.ts";

export type GatewayDeps = {
  directory: Directory;
  identity: Identity;
  /** The control plane's API: where every request goes that is for no container. */
  api: ControlApi;
  /** In front of a Datagrok server those go there. */
  datagrok?: DatagrokServer | undefined;
  /** What load balancers are told; always that it is ready where it is left out. */
  readiness?: Readiness;
  forwarder?: EngineName;
  /** How the splice engine reads its connections. */
  reads?: ReadMode;
  /** The load balancers in front; none where it is left out. */
  trusted?: TrustedProxies;
  /** With them the edge speaks TLS; they stay their opener's. */
  tls?: TlsKeys | undefined;
  limits: ConfiguredLimits & Partial<FixedLimits>;
  /** Origins of pages that may call with a cookie (`BERTH_ORIGINS`), e.g. `https://stand.example.com`. */
  origins: readonly string[];
  /** The host name under which the edge serves the console (`BERTH_CONSOLE_HOST`). */
  consoleName?: string | undefined;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Metrics;
  watchers?: readonly ExchangeListener[];
  /** Where traces go on; they are passed on alone where it is left out. */
  trace?: TraceContext | undefined;
  /** The page that browsers are shown while a container starts; without it, their requests are held like any other. */
  waitingFiles?: PageFiles | undefined;
  clock: Clock;
  log: Log;
};

const ENGINES: Record<EngineName, (parts: ForwardingEngineDeps) => ForwardingEngine> = {
  splice: openSpliceEngine,
  "http-proxy": openHttpProxyEngine,
};

/** Composes the edge: decide what to do with a request, then let an engine do it. The directory and the identity stay their opener's. */
export function openGateway(parts: GatewayDeps): ForwardingEngine {
  const { directory, identity, clock, log } = parts;
  const limits = { ...FIXED_LIMITS, ...parts.limits };
  const metrics = parts.metrics ?? openMetrics();
  const hold = createHold({
    directory,
    clock,
    limit: limits.holdLimit,
    ofUser: { ofContainer: limits.holdUserLimit, ofAll: limits.holdUserTotal },
    counts: metrics,
  });
  const leases = createLeases({ directory, hold, clock, doubtMs: limits.doubtMs, answersOf: (name) => answersOf(metrics, name) });
  directory.setOpenExchanges(leases.openAt);
  const waiting = parts.waitingFiles && createWaitingPage({ directory, clock, files: parts.waitingFiles });
  const decide = createDecide({ ...parts, waiting, readiness: parts.readiness ?? openReadiness("ready"), leases, limits });
  const engine = ENGINES[parts.forwarder ?? "splice"]({
    decide,
    limits,
    reads: parts.reads ?? "events",
    tls: parts.tls,
    bounds: createConnectionLimits({
      perAddress: limits.connectionsPerAddress,
      total: limits.connectionsTotal,
      isExempt: (address) => parts.trusted?.trusts(address) === true,
      refused: metrics.refusedConnections,
      clock,
      log,
    }),
    watch: createExchangeObserver(metrics, parts.watchers ?? []),
    counts: metrics,
    clock,
    log,
  });
  const revoked = endRevokedExchanges({ leases, identity, directory, clock });
  const close = () => {
    revoked.close();
    return engine.close();
  };
  return { server: engine.server, drain: (ms) => engine.drain(ms).finally(revoked.close), close };
}

export type { ForwardingEngine as Gateway };
