import type { Clock } from "../lib/clock.ts";
import { connectionBounds } from "../lib/connection-limits.ts";
import type { Log } from "../lib/log.ts";
import { openDecide } from "./containers/decide.ts";
import { endRevokedExchanges } from "./containers/end-revoked-exchanges.ts";
import { openHold } from "./containers/hold.ts";
import { openLeases } from "./containers/lease.ts";
import { answersOf, openWatch, type Watcher } from "./count-exchanges.ts";
import type { Directory, Identity } from "./contract.ts";
import type { ControlApi } from "./feed/control-link.ts";
import type { Engine, EngineParts, Forwarder } from "./connections/engine.ts";
import { openHttpProxyEngine } from "./http-proxy/open-http-proxy-engine.ts";
import type { Reads } from "./connections/open-connections.ts";
import { openSpliceEngine } from "./exchange/open-splice-engine.ts";
import { type Metrics, openMetrics } from "../lib/metrics/open-metrics.ts";
import { GATEWAY_LIMITS, type GatewayLimits } from "./limits.ts";
import { openReadiness, type Readiness } from "./readiness.ts";
import type { DatagrokServer } from "./api-backend.ts";
import type { TlsKeys } from "./tls-keys.ts";
import type { TraceContext } from "./traces.ts";
import { openWaiting, type PageFiles } from "./waiting/waiting-page.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

export type GatewayParts = {
  directory: Directory;
  identity: Identity;
  /** The control plane's API: where every request goes that is for no container. */
  api: ControlApi;
  /** In front of a Datagrok server those go there. */
  datagrok?: DatagrokServer | undefined;
  /** What load balancers are told; always that it is ready where it is left out. */
  readiness?: Readiness;
  forwarder?: Forwarder;
  /** How the splice engine reads its connections. */
  reads?: Reads;
  /** The load balancers in front; none where it is left out. */
  trusted?: TrustedProxies;
  /** With them the edge speaks TLS; they stay their opener's. */
  tls?: TlsKeys | undefined;
  limits?: Partial<GatewayLimits>;
  /** Origins of pages that may call with a cookie (`BERTH_ORIGINS`), e.g. `https://stand.example.com`. */
  origins: readonly string[];
  /** The host name under which the edge serves the console (`BERTH_CONSOLE_HOST`). */
  consoleName?: string | undefined;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Metrics;
  watchers?: readonly Watcher[];
  /** Where traces go on; they are passed on alone where it is left out. */
  trace?: TraceContext | undefined;
  /** The page that browsers are shown while a container starts; without it, their requests are held like any other. */
  waitingFiles?: PageFiles | undefined;
  clock: Clock;
  log: Log;
};

const ENGINES: Record<Forwarder, (parts: EngineParts) => Engine> = {
  splice: openSpliceEngine,
  "http-proxy": openHttpProxyEngine,
};

/** Composes the edge: decide what to do with a request, then let an engine do it. The directory and the identity stay their opener's. */
export function openGateway(parts: GatewayParts): Engine {
  const { directory, identity, clock, log } = parts;
  const limits = { ...GATEWAY_LIMITS, ...parts.limits };
  const metrics = parts.metrics ?? openMetrics();
  const hold = openHold({
    directory,
    clock,
    limit: limits.holdLimit,
    ofUser: { ofContainer: limits.holdUserLimit, ofAll: limits.holdUserTotal },
    counts: metrics,
  });
  const leases = openLeases({ directory, hold, clock, doubtMs: limits.doubtMs, answersOf: (name) => answersOf(metrics, name) });
  directory.onAsk(leases.openAt);
  const waiting = parts.waitingFiles && openWaiting({ directory, clock, files: parts.waitingFiles });
  const decide = openDecide({ ...parts, waiting, readiness: parts.readiness ?? openReadiness("ready"), leases, limits });
  const engine = ENGINES[parts.forwarder ?? "splice"]({
    decide,
    limits,
    reads: parts.reads ?? "events",
    tls: parts.tls,
    bounds: connectionBounds({
      perAddress: limits.connectionsPerAddress,
      total: limits.connectionsTotal,
      isExempt: (address) => parts.trusted?.trusts(address) === true,
      refused: metrics.refusedConnections,
      clock,
      log,
    }),
    watch: openWatch(metrics, parts.watchers ?? []),
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

export type { Engine as Gateway };
