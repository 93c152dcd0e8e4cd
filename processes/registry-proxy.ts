import { once } from "node:events";
import { join } from "node:path";
import type { Server } from "node:tls";
import type { FastifyRequest } from "fastify";
import { hasImageQuota } from "../conf/image-quota.ts";
import type { Settings } from "../conf/settings.ts";
import { createSignInAttempts, PROXY_ATTEMPT_LIMITS } from "../control/identity/attempts.ts";
import { controlIdentity, datagrokIdentity } from "../gateway/api-backend.ts";
import type { PushedReport, PushRightRequest } from "../gateway/contract.ts";
import { type ControlLink, openControlClient } from "../gateway/feed/control-client.ts";
import { NOT_LEADING, requestLeader } from "../gateway/feed/control-group.ts";
import { followLeader } from "../gateway/feed/follow-leader.ts";
import { createReadiness } from "../gateway/readiness.ts";
import type { ManifestChange } from "../gateway/registry/decide.ts";
import { publicOriginOf } from "../gateway/registry/locations.ts";
import { openRegistryProxy } from "../gateway/registry/open-registry-proxy.ts";
import { openPushCheck } from "../gateway/registry/push-check.ts";
import { createRevokedGrants } from "../gateway/registry/verify-token.ts";
import { openUpstream, type UpstreamSettings } from "../gateway/registry/upstream/open-upstream.ts";
import type { Upstream } from "../gateway/registry/upstream/upstream.ts";
import { keepKeys, type TlsKeys } from "../gateway/tls-keys.ts";
import { traceExchanges } from "../gateway/traces.ts";
import { createTrustedProxies, type TrustedProxies } from "../gateway/trusted-proxies.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { openConfiguredCache } from "./configured-cache.ts";
import { openConfiguredConnections } from "./configured-connections.ts";
import { configuredLimits, type ListeningHandle, openEdgeTlsKeys, openListeningHandle } from "./listeners.ts";
import type { StoppableProcess } from "./parent.ts";
import { openConfiguredAccessLog, openConfiguredTraces } from "./telemetry.ts";

const BACKLOG = 4_096;
/** How long the report of a push waits for a leader. Control finds the image by its timer otherwise. */
const REPORT_PUSH = { longestMs: 60_000, isFailover: ({ code }: Fault) => NOT_LEADING.has(code) };

/** How long a push waits for a leader, or for a control process that is started again. */
const PUSH_RIGHT = { ...REPORT_PUSH, longestMs: 15_000, evenAlone: true } as const;

/** How long control may measure the images of an author. */
const CHECK_PUSH_MS = 65_000;

/** `port` and `consolePort`: the ports of listeners that it opened itself. */
export type RegistryProxy = StoppableProcess & { port: number | undefined; consolePort: number | undefined };

/**
 * The registry proxy alone. It waits for no other server, so that public pulls work while those are away.
 * Faults: SETTINGS_INVALID, ADDRESS_IN_USE, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function runRegistryProxy(options: {
  settings: Settings;
  /** Control, which issues the tokens unless a Datagrok server does, and gets a report of each push; undefined if there is none. */
  link: ControlLink | undefined;
  /** The registry behind where it is berth's own; without one the settings name it. */
  own?: { upstream: Upstream; isReadOnly(): boolean; tagPushedAt(repository: string, tag: string): Promise<number | undefined> };
  /** The socket to accept on, from the parent. Without one it opens its own, and the console's if the settings have one. */
  handle: ListeningHandle | undefined;
  metrics: Metrics;
  version: string;
  clock: Clock;
  log: Log;
}): Promise<RegistryProxy> {
  const { settings, link, metrics, version, clock, log } = options;
  const { registry, datagrok } = settings;
  const stop = new AbortController();
  const tls = openEdgeTlsKeys(settings, clock, log);
  const trusted = createTrustedProxies(settings.trustedProxies);
  if (datagrok.url === undefined && link === undefined)
    throw new Fault("SETTINGS_INVALID", "DATAGROK_URL is not set: it says which server knows the users.");
  const place = options.handle === undefined ? await bindRegistryConsole(settings, clock, log) : undefined;
  const identity = datagrok.url === undefined && link ? controlIdentity(link, trusted, clock) : datagrokIdentity(datagrok.url ?? "", clock);
  const control = link && openControlClient({ link, clock });
  const isIdentityOfControl = datagrok.url === undefined;
  const revoked = createRevokedGrants();
  const leader = link && followLeader({ link, ...(isIdentityOfControl ? { onRevoked: revoked.replace } : {}), clock, log });
  const requestControl = (send: () => Promise<unknown>, signal: AbortSignal, wait: typeof PUSH_RIGHT | typeof REPORT_PUSH = REPORT_PUSH) =>
    requestLeader({ group: link?.group, clock }, { ...wait, signal }, async () => void (await send()));
  const counts = { done: metrics.tokenRefreshes.at("done"), failed: metrics.tokenRefreshes.at("failed") };
  const upstream = options.own?.upstream ?? (await openUpstream(upstreamSettings(settings), { clock, log, signal: stop.signal, counts }));
  const cache = await openConfiguredCache(settings, { metrics, clock, log });
  // The authors are control's own users.
  const checksPushes = control !== undefined && isIdentityOfControl && (hasImageQuota(settings) || settings.image.maxMb !== undefined);
  // A control plane of an earlier version has none of these routes.
  const unlessMissing = (error: unknown) => {
    if (!(error instanceof Fault) || error.code !== "ROUTE_NOT_FOUND") throw error;
  };
  const requirePushRight = async (push: PushRightRequest, signal: AbortSignal): Promise<void> => {
    await requestControl(async () => control?.post("/push-right", push, signal), signal, PUSH_RIGHT).catch(unlessMissing);
  };
  const pushCheck = checksPushes
    ? await openPushCheck({
        upstream,
        check: (push, signal) => requestControl(() => control.post("/push-check", push, signal, CHECK_PUSH_MS), signal).catch(unlessMissing),
        answerMs: configuredLimits(settings).apiTimeoutMs,
        clock,
        log,
      })
    : undefined;
  const accessLog = openConfiguredAccessLog(settings, { metrics, clock, log });
  const traces = await openConfiguredTraces(settings, { version, role: "registry-proxy" });
  const { tagPushedAt } = options.own ?? {};
  const console = place && (await openConsoleOfRegistry({ place, upstream, tagPushedAt, tls, trusted, clock, log }));
  const readiness = createReadiness("ready");
  const proxy = openRegistryProxy({
    upstream,
    cache,
    own: options.own,
    revoked,
    requirePushRight: isIdentityOfControl ? requirePushRight : undefined,
    pushCheck,
    identity,
    attempts: datagrok.url === undefined ? undefined : createSignInAttempts({ clock, limits: PROXY_ATTEMPT_LIMITS }),
    // Control may start after it.
    prefetchKeys: datagrok.url !== undefined,
    issuer: datagrok.issuer,
    service: registry.service,
    anonymousPull: registry.anonymousPull,
    redirects: registry.redirects,
    redirectHosts: registry.redirectHosts,
    trusted,
    readiness,
    tls,
    http2: settings.http2,
    connections: (await openConfiguredConnections(settings, { metrics, clock, log })).connections,
    // A registry has no header with an underscore.
    limits: { ...configuredLimits(settings), underscoreHeaders: "drop" },
    onPushed: (pushed) => {
      log.info(pushed, pushed.deleted ? "an image was deleted" : "an image was pushed");
      console?.saw(pushed);
      // To control only a hint, since it looks by itself now and then; but then its audit log lacks it.
      if (!control) return;
      requestControl(() => control.post("/pushed", pushed satisfies PushedReport, stop.signal), stop.signal).catch((err: unknown) =>
        log.warn({ err, ...pushed }, "reporting a push to control failed"),
      );
    },
    metrics,
    watchers: [...(accessLog ? [accessLog.write] : []), ...(traces ? [traceExchanges({ traces, clock }).over] : [])],
    clock,
    log,
  });
  const at = { host: settings.registryHost, port: settings.registryPort };
  const own = options.handle === undefined ? await openListeningHandle(at, clock) : undefined;
  proxy.server.listen(options.handle ?? own?.handle, BACKLOG);
  await once(proxy.server, "listening").catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${at.host} port ${at.port}: it is in use.`, { cause });
  });
  return {
    port: own?.port,
    consolePort: place?.port,
    // Report not ready until load balancers notice, then accept no connections, then end open exchanges.
    close: async (handedOver = false) => {
      // After a hand-over, health checks on open connections still get 200.
      if (!handedOver) readiness.setState("draining");
      if (!handedOver && settings.drainDelaySeconds > 0) await clock.sleep(settings.drainDelaySeconds * 1_000);
      await proxy.drain(settings.drainSeconds * 1_000);
      await console?.close();
      stop.abort(new Fault("INTERNAL", "The registry proxy has ended."));
      tls?.close();
      leader?.close();
      control?.close();
      await cache?.close();
      await pushCheck?.close();
      await upstream.close();
      identity.close();
      await accessLog?.close();
      await traces?.close();
    },
  };
}

/** Below the data folder: the registry's own tokens, for programs beside this one. */
const TOKEN_FILE = "registry-token";

function upstreamSettings({ registry, awsRegion, data }: Settings): UpstreamSettings {
  return { ...registry, awsRegion, tokenFile: registry.tokenFile ?? join(data, TOKEN_FILE) };
}

/** Where it is to listen, bound before anything else is begun. */
type ConsolePlace = { handle: ListeningHandle; port: number; datagrokUrl: string };

type RegistryConsole = { saw(pushed: ManifestChange): void; close(): Promise<void> };

/** Questions to the server of the users that are under way at a time. */
const CONNECTIONS = 8;

/** The socket of the registry's console; undefined without a port in the settings, or without a Datagrok server. Faults: ADDRESS_IN_USE. */
async function bindRegistryConsole(settings: Settings, clock: Clock, log: Log): Promise<ConsolePlace | undefined> {
  const { registryConsolePort: port, registryHost: host, datagrok } = settings;
  if (port === undefined) return undefined;
  if (datagrok.url === undefined) {
    log.warn(
      {},
      "BERTH_REGISTRY_CONSOLE_PORT opens no console without DATAGROK_URL, which knows the users: the berth beside this has one at its edge",
    );
    return undefined;
  }
  const bound = await openListeningHandle({ host, port }, clock).catch((error: unknown) => {
    if (!(error instanceof Fault) || error.code !== "ADDRESS_IN_USE") throw error;
    throw new Fault("ADDRESS_IN_USE", `${error.message} BERTH_REGISTRY_CONSOLE_PORT names another for the console, or unset none.`, { cause: error });
  });
  return { ...bound, datagrokUrl: datagrok.url };
}

/**
 * The console of a registry that has no control plane beside it. `upstream` stays its opener's; `tagPushedAt` is where the registry's own storage tells
 * it. What it is made of is loaded only here: a registry proxy without it stays small.
 */
async function openConsoleOfRegistry(deps: {
  place: ConsolePlace;
  upstream: Upstream;
  tagPushedAt: ((repository: string, tag: string) => Promise<number | undefined>) | undefined;
  tls: TlsKeys | undefined;
  trusted: TrustedProxies;
  clock: Clock;
  log: Log;
}): Promise<RegistryConsole> {
  const { place, upstream, tagPushedAt, tls, trusted, clock, log } = deps;
  const [{ openRegistryConsole }, { createRecentPushes }, { openBrowser }, { openRegistryHttp }, { openDatagrokClient, signInWithKey, findCaller }] =
    await Promise.all([
      import("../control/console/registry/open-registry-console.ts"),
      import("../control/console/registry/open-registry-console.ts"),
      import("../gateway/registry/browse/open-browser.ts"),
      import("../gateway/registry/upstream/upstream.ts"),
      import("../gateway/datagrok/datagrok-client.ts"),
    ]);
  const socket = "socketPath" in upstream.target ? upstream.target.socketPath : undefined;
  const registry = openBrowser({ upstream: { ...upstream, close: async () => {} }, http: openRegistryHttp({ clock, socketPath: socket }), clock });
  const server = openDatagrokClient({ url: place.datagrokUrl, connections: CONNECTIONS, clock });
  const pushes = createRecentPushes({ clock });
  const console = await openRegistryConsole({
    handle: place.handle,
    tls: tls && { current: tls.current, keep: (of: Server) => keepKeys(of, tls) },
    registry,
    pushOf: async (repository, tag) => {
      const push = pushes.of(repository, tag);
      return { at: (await tagPushedAt?.(repository, tag)) ?? push?.at, by: push?.by };
    },
    users: { signIn: (key, signal) => signInWithKey(server, key, signal), who: (token, signal) => findCaller(server, token, signal) },
    addressOf: (request) => trusted.clientOf(lineOf(request, "x-forwarded-for"), peerOf(request)),
    isSecure: (request) => {
      const head = { header: (name: string) => lineOf(request, name) };
      return publicOriginOf({ head, peer: { address: peerOf(request) }, tls: tls !== undefined }, trusted).startsWith("https:");
    },
    clock,
    log,
  });
  return {
    saw: pushes.record,
    close: async () => {
      await console.close();
      await registry.close();
      server.close();
    },
  };
}

function peerOf(request: FastifyRequest): string {
  return request.raw.socket.remoteAddress ?? "";
}

function lineOf(request: FastifyRequest, name: string): string | undefined {
  return request.headers[name]?.toString();
}
