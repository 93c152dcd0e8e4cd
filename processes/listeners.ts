import { lookup } from "node:dns/promises";
import net from "node:net";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { getSystemErrorName } from "node:util";
import type { Settings } from "../conf/settings.ts";
import type { TcpListenerOptions } from "../control/lifecycle/addresses.ts";
import type { CalloutOptions } from "../gateway/callout/open-callout.ts";
import { type ConfiguredLimits, MAX_CONNECTIONS } from "../gateway/limits.ts";
import { openTlsKeys, type TlsKeys } from "../gateway/tls-keys.ts";
import type { Clock } from "../lib/clock.ts";
import { connectionsFor, descriptorLimit } from "../lib/connection-limits.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { privateListeners } from "../lib/refused-addresses.ts";

/** Where the console listens. Undefined where it has a host name of its own at the edge, or where a Datagrok server's page is there. */
export function consoleListenerAt({
  consoleName,
  datagrok,
  edgeHost: host,
  consolePort: port,
}: Settings): { host: string; port: number } | undefined {
  return consoleName === undefined && datagrok.url === undefined ? { host, port } : undefined;
}

/** Adds the setting to a refusal to listen: `advice` is a sentence. */
export function explainPort(advice: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof Fault) || error.code !== "ADDRESS_IN_USE") throw error;
    throw new Fault("ADDRESS_IN_USE", `${error.message} ${advice}`, { cause: error });
  };
}

/** Throws the error again; where the port is in use, with the setting that names another. */
export const explainConsolePort = explainPort("BERTH_CONSOLE_PORT names another port for the console.");

/** What is wrong with the settings of a console that has a host name of its own: its button Open posts to the edge, whose address only BERTH_WEB_ROOT tells then. */
export function consoleSettingsFault({ consoleName, webRoot }: Pick<Settings, "consoleName" | "webRoot">): Fault | undefined {
  if (consoleName === undefined) return undefined;
  if (webRoot === undefined)
    return new Fault(
      "SETTINGS_INVALID",
      `BERTH_CONSOLE_HOST is ${consoleName} and BERTH_WEB_ROOT is not set, so the console's button Open cannot find the edge: set BERTH_WEB_ROOT to the edge's public address.`,
    );
  if (new URL(webRoot).hostname !== consoleName.toLowerCase()) return undefined;
  return new Fault(
    "SETTINGS_INVALID",
    `BERTH_CONSOLE_HOST and BERTH_WEB_ROOT both name ${consoleName}, so no container can be reached: give the console a host name of its own.`,
  );
}

/** What is wrong with the settings of callouts. */
export function calloutSettingsFault({ callout, workers }: Pick<Settings, "callout" | "workers">): Fault | undefined {
  const { port, host, secret, logPort } = callout;
  if (port === undefined) {
    if (logPort === undefined) return undefined;
    return new Fault("SETTINGS_INVALID", "BERTH_CALLOUT_LOG_PORT has no effect without BERTH_CALLOUT_PORT: set that too.");
  }
  if (secret === undefined && !isLoopback(host))
    return new Fault(
      "SETTINGS_INVALID",
      `BERTH_CALLOUT_HOST is ${host} and BERTH_CALLOUT_SECRET is not set, so any client there could ask for decisions: set the secret, here and in the proxy.`,
    );
  if (logPort === undefined || workers === 1) return undefined;
  return new Fault(
    "SETTINGS_INVALID",
    `BERTH_CALLOUT_LOG_PORT needs BERTH_WORKERS=1, and it is ${workers}: a line would reach another process than the one that decided.`,
  );
}

/** The listener for callouts by the settings; undefined: there is none. Faults: SETTINGS_INVALID. */
export function calloutOptions(settings: Settings, log: Log): CalloutOptions | undefined {
  const fault = calloutSettingsFault(settings);
  if (fault !== undefined) throw fault;
  const { port, host, secret, activeSeconds, logPort, openMinutes } = settings.callout;
  if (port === undefined) return undefined;
  return {
    host,
    port,
    secret,
    activeMs: activeSeconds * 1_000,
    logs: logPort === undefined ? undefined : { port: logPort, openMs: openMinutes * 60_000 },
    guard: privateListeners({ subnets: settings.dockerSubnets, allowed: false, log }).guard,
  };
}

/** A setting with two ports, such as `20000-20999`. */
export function portRangeOf(range: string): { first: number; last: number } {
  const [first, last] = range.split("-").map(Number) as [number, number];
  return { first, last };
}

/** The TCP listeners by the settings; undefined: there are none. */
export function tcpListenerOptions({ tcp }: Pick<Settings, "tcp">): TcpListenerOptions | undefined {
  if (tcp.ports === undefined) return undefined;
  const isWildcard = tcp.host === "0.0.0.0" || tcp.host === "::";
  return {
    ports: portRangeOf(tcp.ports),
    host: tcp.advertisedHost ?? (isWildcard ? hostname() : tcp.host),
    images: tcp.images.map((image) => {
      const end = image.lastIndexOf(":");
      return { name: image.slice(0, end), port: Number(image.slice(end + 1)) };
    }),
  };
}

/** Beside the limits of an image's validation and of a start. */
const LONGEST_PULL_MS = 900_000;

/** The limits of a gateway, and of a registry proxy, by the settings. */
export function configuredLimits(settings: Settings): ConfiguredLimits {
  return {
    proxyRequestTimeoutMs: settings.dockerSettings.proxyRequestTimeout,
    apiTimeoutMs: LONGEST_PULL_MS + 2 * settings.dockerSettings.containerStatusTimeoutMinutes * 60_000,
    holdLimit: settings.holdLimit,
    holdUserLimit: settings.holdUserLimit,
    holdUserTotal: settings.holdUserLimit * 4,
    connectionsPerAddress: settings.connectionsPerAddress,
    connectionsTotal: connectionsFor(descriptorLimit(), MAX_CONNECTIONS),
    headersTimeoutMs: settings.headTimeout,
    keepAliveTimeoutMs: settings.keepAliveTimeout,
    idleTimeoutMs: settings.idleTimeout,
    bodyTimeoutMs: settings.bodyTimeout,
    totalTimeoutMs: settings.totalTimeout,
    noWake: settings.noWake,
    underscoreHeaders: settings.underscoreHeaders,
  };
}

/** The keys that the edge and the registry proxy speak TLS with; undefined where none are set. Faults: SETTINGS_INVALID. SIGHUP makes them be read again, beside their own changes. */
export function openEdgeTlsKeys({ tlsCert, tlsKey }: Settings, clock: Clock, log: Log): TlsKeys | undefined {
  const names = { cert: "BERTH_TLS_CERT", key: "BERTH_TLS_KEY" };
  const keys = openListenerTlsKeys({ cert: tlsCert, key: tlsKey }, { names, whose: "The edge", clock, log });
  if (keys) process.on("SIGHUP", keys.reload);
  return keys;
}

/** The same for a listener of its own, `whose` in the log, and whose settings have these names. */
export function openListenerTlsKeys(
  { cert, key }: { cert: string | undefined; key: string | undefined },
  { names, whose, clock, log }: { names: { cert: string; key: string }; whose: string; clock: Clock; log: Log },
): TlsKeys | undefined {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) throw new Fault("SETTINGS_INVALID", `${names.cert} and ${names.key} are set together or not at all.`);
  return openTlsKeys({ files: { cert, key }, whose, clock, log });
}

/**
 * A bound socket on which this process accepts no connections. The worker processes that get it share one accept queue, so
 * killing a worker resets no connection that waits in it.
 */
export type ListeningHandle = { fd: number; getsockname(out: { port?: number }): number; close(): void };

/** What `node:cluster` itself binds with; it has no public name. `test/processes/serve.test.ts` notices when it moves. */
const { _createServerHandle: createServerHandle } = net as unknown as {
  _createServerHandle(host: string, port: number, family: 4 | 6): ListeningHandle | number;
};

/** The port of a socket that is bound. */
export function portOf(handle: ListeningHandle): number {
  const bound: { port?: number } = {};
  handle.getsockname(bound);
  return bound.port ?? 0;
}

/** Failures that do not pass by themselves, by their system error. */
const LISTEN_REFUSALS: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: "it is no address of this machine. BERTH_HOST names the address of the edge.",
  EACCES: "this user may not use the port. Ports below 1024 need root or CAP_NET_BIND_SERVICE.",
};

/** How long a predecessor that was just killed may take to let go of the port. */
const MAX_WAIT_MS = 3_000;
const RETRY_MS = 50;

/** Faults: ADDRESS_IN_USE. Port 0 takes a free one. */
export async function openListeningHandle(at: { host: string; port: number }, clock: Clock): Promise<{ handle: ListeningHandle; port: number }> {
  const { address, family } = await lookup(at.host).catch((cause: unknown) => {
    throw new Fault("SETTINGS_INVALID", `The host "${at.host}" to listen on cannot be resolved.`, { cause });
  });
  const giveUpAt = clock.monotonic() + MAX_WAIT_MS;
  for (;;) {
    const handle = createServerHandle(address, at.port, family === 6 ? 6 : 4);
    const bound: { port?: number } = {};
    const refused = typeof handle === "number" ? LISTEN_REFUSALS[getSystemErrorName(handle)] : undefined;
    if (refused !== undefined) throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${at.host} port ${at.port}: ${refused}`);
    // A bind that failed may be reported only later, and listening would then take a random port: ask which one it got.
    if (typeof handle !== "number") {
      const status = handle.getsockname(bound);
      if (status === 0 && bound.port !== undefined && (at.port === 0 || bound.port === at.port)) return { handle, port: bound.port };
      handle.close();
    }
    if (clock.monotonic() > giveUpAt) {
      throw new Fault("ADDRESS_IN_USE", `Cannot listen on ${at.host} port ${at.port}: it is in use (ss -ltnp names the program).`);
    }
    await clock.sleep(RETRY_MS);
  }
}

/** Whether only this machine reaches a listener on this host, a name or an IP address without brackets. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
