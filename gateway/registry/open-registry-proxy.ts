import type { Clock } from "../../lib/clock.ts";
import { createConnectionLimits } from "../../lib/connection-limits.ts";
import type { Log } from "../../lib/log.ts";
import { type Metrics, openMetrics } from "../../lib/metrics/open-metrics.ts";
import type { ForwardingEngine } from "../connections/engine.ts";
import { type ConnectionFactory, createConnectionFactory } from "../connections/open-connections.ts";
import { openSpliceEngine } from "../exchange/open-splice-engine.ts";
import { type ConfiguredLimits, FIXED_LIMITS, type FixedLimits } from "../limits.ts";
import { createReadiness, type GatewayReadiness } from "../readiness.ts";
import type { TlsKeys } from "../tls-keys.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";
import { createExchangeObserver, type ExchangeListener } from "../access-record.ts";
import type { RegistryCache } from "./cache/cached-names.ts";
import { createRegistryDecide, type ManifestChange } from "./decide.ts";
import type { IdentityServer } from "../api-backend.ts";
import type { PushRightRequest } from "../contract.ts";
import type { PushCheck } from "./push-check.ts";
import type { TokenAttempts } from "./token-request.ts";
import { openVerification, type RevokedGrants } from "./verify-token.ts";
import { redirectRules } from "../../lib/registry-client/trusted-hosts.ts";
import { registryAnswer } from "./registry-responses.ts";
import type { Upstream } from "./upstream/upstream.ts";

export type RegistryProxyOptions = {
  upstream: Upstream;
  /** A cache of other registries; undefined: none is set up. */
  cache?: RegistryCache | undefined;
  identity: IdentityServer;
  /** Loads the keys of tokens at the start, without waiting for the identity server. */
  prefetchKeys?: boolean;
  /** The issuer of tokens. Undefined: the identity server's own. */
  issuer?: string | undefined;
  service: string;
  anonymousPull: boolean;
  /** `follow`: the proxy itself follows redirects of layers, to the registry's own domain and to `redirectHosts`. */
  redirects: "pass" | "follow";
  redirectHosts: readonly string[];
  trusted: TrustedProxies;
  readiness?: GatewayReadiness;
  tls?: TlsKeys | undefined;
  /** Offers HTTP/2 to TLS clients. */
  http2?: boolean;
  /** Default: on Node's sockets. */
  connections?: ConnectionFactory;
  limits: ConfiguredLimits & Partial<FixedLimits>;
  /** The registry is berth's own: a delete needs a token that names it, and a garbage collection refuses writes. */
  own?: { isReadOnly(): boolean } | undefined;
  /** Tokens that the identity server revoked. Undefined: a token counts until it expires. */
  revoked?: Pick<RevokedGrants, "has"> | undefined;
  /** Whether a user may still push, before a manifest is forwarded. Undefined: the token alone decides. */
  requirePushRight?: ((push: PushRightRequest, signal: AbortSignal) => Promise<void>) | undefined;
  /** Checks manifests before the registry stores them. Undefined: it stores all. The caller closes it. */
  pushCheck?: PushCheck | undefined;
  /** Wrong keys by client. Undefined if the identity server counts them itself. */
  attempts?: TokenAttempts | undefined;
  onPushed?(change: ManifestChange): void;
  metrics?: Metrics;
  watchers?: readonly ExchangeListener[];
  clock: Clock;
  log: Log;
};

/** Composes the registry proxy. The caller closes the upstream and the identity server. */
export function openRegistryProxy(options: RegistryProxyOptions): ForwardingEngine {
  const { upstream, service, clock, log } = options;
  const limits = { ...FIXED_LIMITS, ...options.limits };
  const metrics = options.metrics ?? openMetrics();
  const verification = openVerification({ ...options, issuer: options.issuer, audience: service });
  const stop = new AbortController();
  if (options.prefetchKeys) void verification.prefetch(stop.signal);
  const engine = openSpliceEngine({
    decide: createRegistryDecide({
      ...options,
      verify: verification.verify,
      follow: options.redirects === "follow" ? redirectRules(hostAndPort(upstream), options.redirectHosts) : undefined,
      readiness: options.readiness ?? createReadiness("ready"),
      // The registry assembles a large layer, and may move it to another store, before it responds.
      headTimeoutMs: limits.apiTimeoutMs,
      onPushed: options.onPushed ?? (() => undefined),
    }),
    refusal: registryAnswer,
    limits,
    connections: options.connections ?? createConnectionFactory(),
    tls: options.tls,
    http2: options.http2,
    bounds: createConnectionLimits({
      perAddress: limits.connectionsPerAddress,
      total: limits.connectionsTotal,
      isExempt: (address) => options.trusted.trusts(address),
      refused: metrics.refusedConnections,
      clock,
      log,
    }),
    watch: createExchangeObserver(metrics, options.watchers ?? []),
    counts: metrics,
    clock,
    log,
  });
  const closing = async (end: () => Promise<void>) => {
    await end();
    stop.abort(new Error("Closing."));
    verification.close();
  };
  return { server: engine.server, drain: (ms) => closing(() => engine.drain(ms)), close: () => closing(engine.close) };
}

function hostAndPort({ target, host }: Upstream): { hostname: string; port: number } {
  const { hostname } = new URL(`http://${host}`);
  return { hostname: hostname.replace(/^\[|\]$/g, ""), port: "port" in target ? target.port : 0 };
}
