import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { openDecide } from "./containers/decide.ts";
import { openHold } from "./containers/hold.ts";
import { openLeases } from "./containers/lease.ts";
import type { Directory } from "./directory.ts";
import type { Engine, EngineParts, Forwarder } from "./forward/engine.ts";
import { openHttpProxyEngine } from "./forward/http-proxy/open-http-proxy-engine.ts";
import type { Reads } from "./forward/reads.ts";
import { openSpliceEngine } from "./forward/splice/open-splice-engine.ts";
import type { Identity } from "./identity.ts";
import { GATEWAY_LIMITS, type GatewayLimits } from "./limits.ts";
import { openReadiness, type Readiness } from "./readiness.ts";
import type { DatagrokServer } from "./server-behind.ts";
import type { TlsKeys } from "./tls-keys.ts";
import type { TrustedProxies } from "./trusted-proxies.ts";

export type GatewayParts = {
  directory: Directory;
  identity: Identity;
  /** The Unix socket of the control plane's API: where every request goes that is for no container. */
  apiSocket: string;
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
  clock: Clock;
  log: Log;
};

const ENGINES: Record<Forwarder, (parts: EngineParts) => Engine> = {
  splice: openSpliceEngine,
  "http-proxy": openHttpProxyEngine,
};

/** Composes the edge: decide what to do with a request, then let an engine do it. The directory and the identity stay their opener's. */
export function openGateway(parts: GatewayParts): Engine {
  const { directory, clock, log } = parts;
  const limits = { ...GATEWAY_LIMITS, ...parts.limits };
  const hold = openHold({ directory, clock, limit: limits.holdLimit });
  const leases = openLeases({ directory, hold, clock, doubtMs: limits.doubtMs });
  directory.onAsk(leases.openAt);
  const decide = openDecide({ ...parts, readiness: parts.readiness ?? openReadiness("ready"), leases, limits });
  return ENGINES[parts.forwarder ?? "splice"]({ decide, limits, reads: parts.reads ?? "events", tls: parts.tls, clock, log });
}

export type { Engine as Gateway };
