import type { RequestListener } from "node:http";
import type { Server } from "node:tls";
import type { Settings } from "../conf/settings.ts";
import { openGatewayListener } from "../control/api/control-listener.ts";
import type { FeedHandler } from "../control/api/feed.ts";
import { openConsoleListener } from "../control/console/console-routes.ts";
import { createGatewayTokens } from "../control/identity/gateway-tokens.ts";
import { loadSharedKeys } from "../control/packages/credentials/key-file.ts";
import { keepKeys } from "../gateway/tls-keys.ts";
import { createTrustedProxies } from "../gateway/trusted-proxies.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import { privateListeners } from "../lib/refused-addresses.ts";
import { configuredToken } from "./control-link.ts";
import { isLoopback, type ListeningHandle, openEdgeTlsKeys, openListenerTlsKeys, openListeningHandle } from "./listeners.ts";

/** The keys of the credentials in the settings. Faults: SETTINGS_INVALID. */
export function configuredKeys({ credentialsKey, credentialsKeyFile }: Settings): readonly string[] {
  return credentialsKey.length > 0 || credentialsKeyFile === undefined ? credentialsKey : loadSharedKeys(credentialsKeyFile);
}

/** Where gateways on other machines are to come in; undefined where none are. Faults: SETTINGS_INVALID, ADDRESS_IN_USE, DATA_FOLDER_UNUSABLE. */
export async function bindEntrance({ data, gateways, control }: Settings, clock: Clock, log: Log) {
  const { host, port, tlsCert, tlsKey, plain } = gateways;
  if (port === undefined) return undefined;
  const names = { cert: "BERTH_GATEWAYS_TLS_CERT", key: "BERTH_GATEWAYS_TLS_KEY" };
  const keys = openListenerTlsKeys({ cert: tlsCert, key: tlsKey }, { names, whose: "The gateways' entrance", clock, log });
  if (!keys && !plain && !isLoopback(host))
    throw new Fault(
      "SETTINGS_INVALID",
      `Gateways would come in at ${host} without TLS: set ${names.cert} and ${names.key}, or BERTH_GATEWAYS_PLAIN=on.`,
    );
  const tokens = createGatewayTokens({ dataFolder: data, given: configuredToken(control, clock), clock });
  tokens.current();
  const { handle, port: taken } = await openListeningHandle({ host, port }, clock);
  log.info({ host, port: taken, tls: keys !== undefined }, "Gateways on other machines may join");
  const tls = keys && { current: keys.current, keep: (server: Server) => keepKeys(server, keys) };
  return { handle, tls, keys, tokens };
}

/** Answer requests of the listeners beside control's Unix sockets. */
export type ControlAnswers = { feed: FeedHandler; api: RequestListener };
type ControlListenerSources = { settings: Settings; consoleHandle: ListeningHandle | undefined; clock: Clock; log: Log };
type BoundEntrance = Awaited<ReturnType<typeof bindEntrance>>;

/** The gateways' entrance and the console's own listener. `answers` is read for each request; `standby` answers those at the entrance while it is defined. */
export async function openControlListeners(
  { settings, consoleHandle, entranceAt, clock, log }: ControlListenerSources & { entranceAt: BoundEntrance },
  answers: () => ControlAnswers,
  standby?: Parameters<typeof openGatewayListener>[0]["standby"],
): Promise<{ close(): Promise<void> }> {
  const entrance =
    entranceAt &&
    (await openGatewayListener({
      ...entranceAt,
      listeners: privateListeners({ subnets: settings.dockerSubnets, allowed: settings.privateFromContainers, log }),
      feed: (...call) => answers().feed(...call),
      api: (...call) => answers().api(...call),
      standby,
      clock,
      log,
    }));
  const consoleKeys = consoleHandle && openEdgeTlsKeys(settings, clock, log);
  const trusted = createTrustedProxies(settings.trustedProxies);
  const consoleListener =
    consoleHandle &&
    (await openConsoleListener({
      handle: consoleHandle,
      tls: consoleKeys && { current: consoleKeys.current, keep: (server: Server) => keepKeys(server, consoleKeys) },
      answer: (...call) => answers().api(...call),
      clock,
      log,
      addressOf: ({ headers, socket }) =>
        trusted.clientOf(headers["x-forwarded-for"]?.toString(), (socket.remoteAddress ?? "").replace(/^::ffff:/, "")),
      trusts: (peer) => trusted.trusts(peer.replace(/^::ffff:/, "")),
    }));
  return {
    close: async () => {
      await consoleListener?.close();
      consoleKeys?.close();
      await entrance?.close();
      entranceAt?.keys?.close();
    },
  };
}
