import { once } from "node:events";
import type { Clock } from "../clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../fault.ts";
import type { GatewayLimits } from "../gateway/limits.ts";
import { openFeed } from "../gateway/feed/open-feed.ts";
import { openGateway } from "../gateway/open-gateway.ts";
import { openReadiness } from "../gateway/readiness.ts";
import { trustedProxies } from "../gateway/trusted-proxies.ts";
import type { Log } from "../log.ts";
import { ownText } from "../own-files.ts";
import { type ListeningHandle, openListeningHandle } from "./listening-handle.ts";
import { openKeys } from "./open-keys.ts";
import type { RuntimeFolder } from "./runtime-folder.ts";
import type { Running } from "./until-told.ts";

/** How long to wait for the first news from control before listening without: those who call then hear that it is away. */
const FIRST_NEWS_MS = 5_000;

/** A crowd that arrives at once waits here rather than being told to try again by TCP; the kernel may allow less. */
const BACKLOG = 4_096;

/** One gateway process: everything a request touches. */
export async function runGateway(options: {
  settings: Settings;
  runtime: RuntimeFolder;
  /** The shared socket to accept on; without one it opens its own. */
  handle: ListeningHandle | undefined;
  clock: Clock;
  log: Log;
}): Promise<Running> {
  const { settings, runtime, clock, log } = options;
  const tls = openKeys(settings, clock, log);
  const readiness = openReadiness("starting");
  const feed = openFeed({ socketPath: runtime.feedSocket, clock, log });
  const gateway = openGateway({
    directory: feed.directory,
    identity: feed.identity,
    apiSocket: runtime.apiSocket,
    datagrok: settings.datagrok.url === undefined ? undefined : { url: settings.datagrok.url, keepHost: settings.datagrok.keepHost },
    readiness,
    forwarder: settings.forwarder,
    reads: settings.reads,
    limits: limitsOf(settings),
    tls,
    trusted: trustedProxies(settings.trustedProxies),
    // A load balancer may show another Host than browsers do: a page of the public address is the stand's own all the same.
    origins: settings.webRoot === undefined ? settings.origins : [new URL(settings.webRoot).origin, ...settings.origins],
    waitingFiles: settings.waitingPage ? { css: ownText("gateway/waiting/page.css"), js: ownText("gateway/waiting/page.js") } : undefined,
    clock,
    log,
  });
  void feed.ready().then(() => readiness.turn("ready"));
  await Promise.race([feed.ready(), clock.sleep(FIRST_NEWS_MS)]);
  const handle = options.handle ?? (await openListeningHandle({ host: settings.edgeHost, port: settings.edgePort }, clock)).handle;
  gateway.server.listen(handle, BACKLOG);
  await once(gateway.server, "listening").catch((cause: unknown) => {
    throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${settings.edgeHost} port ${settings.edgePort}: it is in use.`, { cause });
  });
  return {
    // Red first, and for as long as load balancers take to see it; then no more connections; then the end of what is open.
    close: async () => {
      readiness.turn("draining");
      if (settings.drainDelaySeconds > 0) await clock.sleep(settings.drainDelaySeconds * 1_000);
      await gateway.drain(settings.drainSeconds * 1_000);
      tls?.close();
      await feed.close();
    },
  };
}

function limitsOf(settings: Settings): Partial<GatewayLimits> {
  return {
    proxyRequestTimeoutMs: settings.dockerSettings.proxyRequestTimeout,
    holdLimit: settings.holdLimit,
    headersTimeoutMs: settings.headTimeout,
    idleTimeoutMs: settings.idleTimeout,
    totalTimeoutMs: settings.totalTimeout,
    noWake: settings.noWake,
    underscoreHeaders: settings.underscoreHeaders,
  };
}
