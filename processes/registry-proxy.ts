import { once } from "node:events";
import { join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import { openControlClient } from "../gateway/feed/control-client.ts";
import { controlHere } from "../gateway/feed/control-link.ts";
import { configuredLimits } from "./configured-limits.ts";
import { openReadiness } from "../gateway/readiness.ts";
import { controlIdentity, datagrokIdentity } from "../gateway/registry/token-request.ts";
import { openRegistryProxy } from "../gateway/registry/open-registry-proxy.ts";
import { openUpstream, type UpstreamSettings } from "../gateway/registry/upstream/open-upstream.ts";
import type { Upstream } from "../gateway/registry/upstream/upstream.ts";
import { createSignInAttempts, PROXY_ATTEMPT_LIMITS } from "../control/identity/attempts.ts";
import { trustedProxies } from "../gateway/forwarded-headers.ts";
import type { PushedReport } from "../gateway/contract.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { type ListeningHandle, openListeningHandle } from "./listening-handle.ts";
import { traceExchanges } from "../gateway/traces.ts";
import { openConfiguredTraces, openConfiguredAccessLog } from "./telemetry.ts";
import { openEdgeTlsKeys } from "./tls-keys.ts";
import { bindRegistryConsole, openConsoleOfRegistry } from "./registry-console.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";
import type { StoppableProcess } from "./parent.ts";

const BACKLOG = 4_096;

/** The registry proxy: `port` is where it listens; undefined where that was somebody else's to choose. `consolePort`: where its console does, if it has one. */
export type RegistryProxy = StoppableProcess & { port: number | undefined; consolePort: number | undefined };

/**
 * The registry proxy alone. It asks nobody for anything before the first token comes, so that what may be read is served whoever is away.
 * Faults: SETTINGS_INVALID, ADDRESS_IN_USE, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function runRegistryProxy(options: {
  settings: Settings;
  /** Where control is, which makes the tokens unless a Datagrok server does, and is told of pushes; undefined where there is none. */
  runtime: RuntimeFolder | undefined;
  /** The registry behind where it is berth's own; without one the settings name it. */
  own?: { upstream: Upstream; isReadOnly(): boolean; tagPushedAt(repository: string, tag: string): Promise<number | undefined> };
  /** The socket to accept on, of one among the processes of a whole berth; without one it opens its own, and a console's where one is wished. */
  handle: ListeningHandle | undefined;
  metrics: Metrics;
  version: string;
  clock: Clock;
  log: Log;
}): Promise<RegistryProxy> {
  const { settings, runtime, metrics, version, clock, log } = options;
  const { registry, datagrok } = settings;
  const stop = new AbortController();
  const tls = openEdgeTlsKeys(settings, clock, log);
  const trusted = trustedProxies(settings.trustedProxies);
  if (datagrok.url === undefined && runtime === undefined)
    throw new Fault("SETTINGS_INVALID", "DATAGROK_URL is not set: it says which server knows the users.");
  const place = options.handle === undefined ? await bindRegistryConsole(settings, clock, log) : undefined;
  const identity = datagrok.url === undefined ? controlIdentity(runtime?.apiSocket ?? "", trusted, clock) : datagrokIdentity(datagrok.url, clock);
  const control = runtime && openControlClient({ link: controlHere(runtime), clock });
  const counts = { done: metrics.tokenRefreshes.at("done"), failed: metrics.tokenRefreshes.at("failed") };
  const upstream = options.own?.upstream ?? (await openUpstream(upstreamSettings(settings), { clock, log, signal: stop.signal, counts }));
  const accessLog = openConfiguredAccessLog(settings, { metrics, clock, log });
  const traces = await openConfiguredTraces(settings, { version, role: "registry-proxy" });
  const { tagPushedAt } = options.own ?? {};
  const console = place && (await openConsoleOfRegistry({ place, upstream, tagPushedAt, tls, trusted, clock, log }));
  const readiness = openReadiness("ready");
  const proxy = openRegistryProxy({
    upstream,
    own: options.own,
    identity,
    attempts: datagrok.url === undefined ? undefined : createSignInAttempts({ clock, limits: PROXY_ATTEMPT_LIMITS }),
    issuer: datagrok.issuer,
    service: registry.service,
    anonymousPull: registry.anonymousPull,
    redirects: registry.redirects,
    redirectHosts: registry.redirectHosts,
    trusted,
    readiness,
    tls,
    reads: registry.reads,
    // A registry has no header with an underscore.
    limits: { ...configuredLimits(settings), underscoreHeaders: "drop" },
    onPushed: (pushed) => {
      log.info(pushed, pushed.deleted ? "an image was deleted" : "an image was pushed");
      console?.saw(pushed);
      // To control only a hint, since it looks by itself now and then; but then its audit log lacks it.
      control
        ?.post("/pushed", pushed satisfies PushedReport, stop.signal)
        .catch((err: unknown) => log.warn({ err, ...pushed }, "control was not told"));
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
    // Red first, for as long as load balancers take to see it; then no more connections; then the end of what is open.
    close: async (handedOver = false) => {
      // Whose listener others have taken over goes on answering with 200.
      if (!handedOver) readiness.turn("draining");
      if (!handedOver && settings.drainDelaySeconds > 0) await clock.sleep(settings.drainDelaySeconds * 1_000);
      await proxy.drain(settings.drainSeconds * 1_000);
      await console?.close();
      stop.abort(new Fault("INTERNAL", "The registry proxy has ended."));
      tls?.close();
      control?.close();
      await upstream.close();
      identity.close();
      accessLog?.close();
      await traces?.close();
    },
  };
}

/** Below the data folder: the registry's own tokens, for programs beside this one. */
const TOKEN_FILE = "registry-token";

function upstreamSettings({ registry, awsRegion, data }: Settings): UpstreamSettings {
  return { ...registry, awsRegion, tokenFile: registry.tokenFile ?? join(data, TOKEN_FILE) };
}
