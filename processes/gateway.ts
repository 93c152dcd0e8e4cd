import { once } from "node:events";
import { hostname } from "node:os";
import type { Settings } from "../conf/settings.ts";
import { createOpenExchanges, type OpenExchanges } from "../gateway/containers/open-exchanges.ts";
import { openDatagrok } from "../gateway/datagrok/open-datagrok.ts";
import type { GatewayLoad } from "../gateway/contract.ts";
import type { ControlLink } from "../gateway/feed/control-client.ts";
import { type Feed, openFeed } from "../gateway/feed/open-feed.ts";
import { openGateway } from "../gateway/open-gateway.ts";
import { createRecentRequests, type RecentRequests } from "../gateway/recent-requests.ts";
import { createReadiness } from "../gateway/readiness.ts";
import { traceExchanges } from "../gateway/traces.ts";
import { createTrustedProxies } from "../gateway/trusted-proxies.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { ownText } from "../lib/own-files.ts";
import { privateListeners } from "../lib/refused-addresses.ts";
import { isSessionToken } from "../lib/sign-in.ts";
import { openConfiguredConnections } from "./configured-connections.ts";
import { calloutOptions, configuredLimits, type ListeningHandle, openEdgeTlsKeys, openListeningHandle } from "./listeners.ts";
import { oidcSettingsFault } from "./sign-in-providers.ts";
import type { StoppableProcess } from "./parent.ts";
import { openConfiguredAccessLog, openConfiguredTraces } from "./telemetry.ts";

/** How long to wait for control before the gateway listens: after that, callers get CONTROL_AWAY. */
const FIRST_STATE_MS = 5_000;

/** Control sends something every second. */
const SILENT_MS = 5_000;

/** Simultaneous connects wait in this queue instead of being refused; the kernel may allow less. */
const BACKLOG = 4_096;

/** One gateway process: everything a request touches. Faults: SETTINGS_INVALID, ADDRESS_IN_USE; GATEWAY_REFUSED, CONTROL_UNTRUSTED at once. */
export async function runGateway(options: {
  settings: Settings;
  /** The control plane, of this machine or another. */
  link: ControlLink;
  /** The shared socket to accept on; without one it opens its own. */
  handle: ListeningHandle | undefined;
  metrics: Metrics;
  version: string;
  clock: Clock;
  log: Log;
}): Promise<StoppableProcess & { port: number | undefined }> {
  const { settings, link, metrics, version, clock, log } = options;
  const tls = openEdgeTlsKeys(settings, clock, log);
  const readiness = createReadiness("starting", () => {
    const state = feed.status();
    if (state === undefined || (state.connected && clock.monotonic() - state.lastMessageAt < SILENT_MS)) return undefined;
    return clock.now() - (clock.monotonic() - state.lastMessageAt);
  });
  const exchanges = createOpenExchanges();
  const recent = settings.recentRequests ? createRecentRequests(clock) : undefined;
  const { connections, sockets } = await openConfiguredConnections(settings, { metrics, clock, log });
  const load = createLoadReader({ version, sockets, exchanges, clock });
  const feed = openDirectory({ settings, link, version, openExchanges: exchanges.at, recentRequests: recent?.of, load, clock, log });
  const accessLog = openConfiguredAccessLog(settings, { metrics, clock, log });
  const traces = await openConfiguredTraces(settings, { version, role: "gateway" });
  const traced = traces && traceExchanges({ traces, clock });
  countFeed(metrics, feed, clock);
  const gateway = await openGateway({
    exchanges,
    directory: feed.directory,
    identity: feed.identity,
    api: link.api,
    datagrok: settings.datagrok.url === undefined ? undefined : { url: settings.datagrok.url, keepHost: settings.datagrok.keepHost },
    readiness,
    forwarder: settings.forwarder,
    connections,
    limits: configuredLimits(settings),
    tls,
    http2: settings.http2,
    trusted: createTrustedProxies(settings.trustedProxies),
    // A load balancer may show another Host than browsers do: a page of the public address is the stand's own all the same.
    origins: settings.webRoot === undefined ? settings.origins : [new URL(settings.webRoot).origin, ...settings.origins],
    consoleName: settings.consoleName,
    metrics,
    tcp: feed.tcpListeners && {
      source: feed.tcpListeners,
      host: settings.tcp.host,
      perContainer: settings.tcp.connections,
      guard: privateListeners({ subnets: settings.dockerSubnets, allowed: settings.privateFromContainers, log }).guard,
    },
    callout: calloutOptions(settings, log),
    watchers: [...(accessLog ? [accessLog.write] : []), ...(traced ? [traced.over] : [])],
    recent: recent?.write,
    trace: traced?.context,
    waitingFiles: settings.waitingPage ? { css: ownText("gateway/waiting/page.css"), js: ownText("gateway/waiting/page.js") } : undefined,
    clock,
    log,
  });
  void feed.ready().then(() => readiness.setState("ready"));
  const refused = await Promise.race([feed.ready(), feed.refused(), clock.sleep(FIRST_STATE_MS)]);
  if (refused) throw refused;
  void feed.refused().then((fault) => log.error({ fault: fault.code, control: link.name }, fault.message));
  const own = options.handle === undefined ? await openListeningHandle({ host: settings.edgeHost, port: settings.edgePort }, clock) : undefined;
  gateway.server.listen(options.handle ?? own?.handle, BACKLOG);
  await once(gateway.server, "listening").catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${settings.edgeHost} port ${settings.edgePort}: it is in use.`, { cause });
  });
  return {
    /** Where it opened its own listener. */
    port: own?.port,
    // Report not ready until load balancers notice, then accept no connections, then end open exchanges.
    close: async (handedOver = false) => {
      // After a hand-over, health checks on open connections still get 200.
      if (!handedOver) readiness.setState("draining");
      if (!handedOver && settings.drainDelaySeconds > 0) await clock.sleep(settings.drainDelaySeconds * 1_000);
      await gateway.drain(settings.drainSeconds * 1_000);
      tls?.close();
      await feed.close();
      await accessLog?.close();
      await traces?.close();
    },
  };
}

/** What this process does now, with the processor time since the call before. */
function createLoadReader(deps: { version: string; sockets: GatewayLoad["sockets"]; exchanges: OpenExchanges; clock: Clock }): () => GatewayLoad {
  const { version, sockets, exchanges, clock } = deps;
  const startedAt = clock.monotonic();
  let last = { at: startedAt, usage: process.cpuUsage() };
  return () => {
    const at = clock.monotonic();
    const { user, system } = process.cpuUsage(last.usage);
    const cores = at > last.at ? (user + system) / 1_000 / (at - last.at) : 0;
    last = { at, usage: process.cpuUsage() };
    const own = { machine: hostname(), pid: process.pid, version, sockets, upMs: at - startedAt };
    return { ...own, openRequests: exchanges.leases().length, cores, memoryBytes: process.memoryUsage.rss() };
  };
}

/** Nothing of a directory that follows no feed. */
function countFeed(metrics: Metrics, feed: Feed, clock: Clock): void {
  type State = NonNullable<ReturnType<Feed["status"]>>;
  const read = (family: Metrics["feedConnected"], value: (state: State) => number | undefined) =>
    family.look((cells) => {
      const state = feed.status();
      const now = state && value(state);
      if (now !== undefined) cells.at().set(now);
    });
  read(metrics.feedConnected, ({ connected }) => (connected ? 1 : 0));
  read(metrics.feedSilentSeconds, ({ lastMessageAt }) => (clock.monotonic() - lastMessageAt) / 1_000);
  // Without a feed there is nothing to lag behind.
  read(metrics.feedSeq, ({ connected, seq }) => (connected ? seq : undefined));
}

/** The directory and identity of this gateway: control's feed or a Datagrok server. Faults: SETTINGS_INVALID. */
function openDirectory(deps: {
  settings: Settings;
  link: ControlLink;
  version: string;
  openExchanges: OpenExchanges["at"];
  recentRequests: RecentRequests["of"] | undefined;
  load: () => GatewayLoad;
  clock: Clock;
  log: Log;
}): Feed {
  const { settings, link, version, openExchanges, recentRequests, load, clock, log } = deps;
  const { url, directory, key } = settings.datagrok;
  if (directory === "control") return openFeed({ link, version, isToken: isSessionToken, openExchanges, recentRequests, load, clock, log });
  const fault = oidcSettingsFault(settings);
  if (fault) throw fault;
  if (url === undefined) throw new Fault("SETTINGS_INVALID", "BERTH_DIRECTORY=datagrok asks the Datagrok server of DATAGROK_URL: set that too.");
  // It refuses callers, never a gateway.
  const refused = () => new Promise<never>(() => undefined);
  return { ...openDatagrok({ url, key, runMs: settings.dockerSettings.proxyRequestTimeout, clock, log }), refused, status: () => undefined };
}
