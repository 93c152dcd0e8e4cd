import type { FastifyRequest } from "fastify";
import type { Server } from "node:tls";
import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import { Fault } from "../lib/fault.ts";
import type { Pushed } from "../gateway/registry/decide.ts";
import { seenByClient } from "../gateway/registry/locations.ts";
import type { Upstream } from "../gateway/registry/upstream/upstream.ts";
import { keepKeys, type TlsKeys } from "../gateway/tls-keys.ts";
import type { TrustedProxies } from "../gateway/forwarded-headers.ts";
import type { Log } from "../lib/log.ts";
import { type ListeningHandle, openListeningHandle } from "./listening-handle.ts";

/** Where it is to listen, bound before anything else is begun. */
type ConsolePlace = { handle: ListeningHandle; port: number; datagrokUrl: string };

type RegistryConsole = { saw(pushed: Pushed): void; close(): Promise<void> };

/** Questions to the server of the users that are under way at a time. */
const CONNECTIONS = 8;

/** The socket of the registry's console; undefined where none is wished, or a whole berth beside it has one at its edge. Faults: ADDRESS_IN_USE. */
export async function bindRegistryConsole(settings: Settings, clock: Clock, log: Log): Promise<ConsolePlace | undefined> {
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
export async function openConsoleOfRegistry(deps: {
  place: ConsolePlace;
  upstream: Upstream;
  tagPushedAt: ((repository: string, tag: string) => Promise<number | undefined>) | undefined;
  tls: TlsKeys | undefined;
  trusted: TrustedProxies;
  clock: Clock;
  log: Log;
}): Promise<RegistryConsole> {
  const { place, upstream, tagPushedAt, tls, trusted, clock, log } = deps;
  const [
    { openRegistryConsole },
    { createRecentPushes },
    { openBrowser },
    { openRegistryHttp },
    { openDatagrokClient },
    { signInWithKey },
    { findCaller },
  ] = await Promise.all([
    import("../control/console/registry/open-registry-console.ts"),
    import("../control/console/registry/open-registry-console.ts"),
    import("../gateway/registry/browse/open-browser.ts"),
    import("../gateway/registry/upstream/registry-http.ts"),
    import("../gateway/datagrok/datagrok-client.ts"),
    import("../gateway/datagrok/datagrok-client.ts"),
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
      const seen = pushes.of(repository, tag);
      return { at: (await tagPushedAt?.(repository, tag)) ?? seen?.at, by: seen?.by };
    },
    users: { signIn: (key, signal) => signInWithKey(server, key, signal), who: (token, signal) => findCaller(server, token, signal) },
    addressOf: (request) => trusted.clientOf(lineOf(request, "x-forwarded-for"), peerOf(request)),
    isSecure: (request) => {
      const head = { header: (name: string) => lineOf(request, name) };
      return seenByClient({ head, peer: { address: peerOf(request) }, tls: tls !== undefined }, trusted).startsWith("https:");
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
