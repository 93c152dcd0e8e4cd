import type { Clock } from "../../lib/clock.ts";
import { createConnectionLimits } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import type { ForwardingEngine } from "../connections/engine.ts";
import type { ReadMode } from "../connections/open-connections.ts";
import { openSpliceEngine } from "../exchange/open-splice-engine.ts";
import { type ConfiguredLimits, FIXED_LIMITS, type FixedLimits } from "../limits.ts";
import { createReadiness, type Readiness } from "../readiness.ts";
import type { TlsKeys } from "../tls-keys.ts";
import type { TrustedProxies } from "../forwarded-headers.ts";
import { createExchangeObserver, type ExchangeListener } from "../access-record.ts";
import { openRegistryDecide, type ManifestChange } from "./decide.ts";
import type { IdentityServer } from "../api-backend.ts";
import type { TokenAttempts } from "./token-request.ts";
import { openVerification } from "./verify-token.ts";
import { redirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import { registryAnswer } from "./registry-responses.ts";
import type { Upstream } from "./upstream/upstream.ts";

export type RegistryProxyOptions = {
  upstream: Upstream;
  identity: IdentityServer;
  /** Who signs tokens; where unset, what the identity server says of itself. */
  issuer?: string | undefined;
  service: string;
  anonymousPull: boolean;
  /** Redirects of layers are passed to the client, or followed here, to hosts of the registry's own domain and to these. */
  redirects: "pass" | "follow";
  redirectHosts: readonly string[];
  trusted: TrustedProxies;
  readiness?: Readiness;
  tls?: TlsKeys | undefined;
  limits: ConfiguredLimits & Partial<FixedLimits>;
  /** How connections are read. */
  reads?: ReadMode;
  /** The registry is berth's own: only a token that names it may delete, and now and then nothing can be written. */
  own?: { isReadOnly(): boolean } | undefined;
  /** Of wrong keys; undefined where who judges the keys counts them by client. */
  attempts?: TokenAttempts | undefined;
  onPushed?(pushed: ManifestChange): void;
  /** Where it counts; for nobody where it is left out. */
  metrics?: Metrics;
  watchers?: readonly ExchangeListener[];
  clock: Clock;
  log: Log;
};

/** Composes the registry proxy. Draining and closing are the engine's; the upstream and the identity server stay their opener's. */
export function openRegistryProxy(parts: RegistryProxyOptions): ForwardingEngine {
  const { upstream, service, clock, log } = parts;
  const limits = { ...FIXED_LIMITS, ...parts.limits };
  const metrics = parts.metrics ?? openMetrics();
  const verification = openVerification({ ...parts, issuer: parts.issuer, audience: service });
  const engine = openSpliceEngine({
    decide: openRegistryDecide({
      ...parts,
      verify: verification.verify,
      follow: parts.redirects === "follow" ? redirectRules(placeOf(upstream), parts.redirectHosts) : undefined,
      readiness: parts.readiness ?? createReadiness("ready"),
      // A large layer is put together, and perhaps moved to another store, before it is confirmed.
      headTimeoutMs: limits.apiTimeoutMs,
      onPushed: parts.onPushed ?? (() => undefined),
    }),
    refusal: registryAnswer,
    limits,
    reads: parts.reads ?? "events",
    tls: parts.tls,
    bounds: createConnectionLimits({
      perAddress: limits.connectionsPerAddress,
      total: limits.connectionsTotal,
      isExempt: (address) => parts.trusted.trusts(address),
      refused: metrics.refusedConnections,
      clock,
      log,
    }),
    watch: createExchangeObserver(metrics, parts.watchers ?? []),
    counts: metrics,
    clock,
    log,
  });
  const closing = async (end: () => Promise<void>) => {
    await end();
    verification.close();
  };
  return { server: engine.server, drain: (ms) => closing(() => engine.drain(ms)), close: () => closing(engine.close) };
}

function placeOf({ target, host }: Upstream): { hostname: string; port: number } {
  const { hostname } = new URL(`http://${host}`);
  return { hostname: hostname.replace(/^\[|\]$/g, ""), port: "port" in target ? target.port : 0 };
}
