import { Fault } from "../../lib/fault.ts";
import { type CommandContext, loadSettings } from "../command-context.ts";
import type { SelectedServer } from "../server/server-command.ts";
import { trimTrailing } from "../../lib/trim-trailing.ts";

/** Of verbs that talk to a registry. */
export const REGISTRY_OPTION = {
  registry: { value: "<host>", summary: "the registry's host, and port; else that of the config file, or of this machine's berth" },
} as const;

/**
 * Host and port of the registry that goes with a server: the given one, else the one beside the server in its config file, else the one that the settings
 * of this machine's berth have. Undefined where none is known.
 */
export function registryHostOf(context: CommandContext, server: SelectedServer, givenHost: string | undefined): string | undefined {
  const word = givenHost ?? server.registry;
  if (word !== undefined) return parseHost(word);
  if (!server.isLocal) return undefined;
  const { registry, registryHost, registryPort, dockerSettings } = loadSettings(context).settings;
  const { registryProxyHost: proxy, registryProxyPort: port } = dockerSettings;
  if (proxy !== "") return proxy.includes(":") ? proxy : `${proxy}:${port}`;
  if (registry.kind !== "embedded" && registry.url === undefined && !registry.ecrMode) return undefined;
  const host = /^(0\.0\.0\.0|::)$/.test(registryHost) ? "127.0.0.1" : registryHost;
  return `${host.includes(":") ? `[${host}]` : host}:${registryPort}`;
}

/** A scheme is no part of it, as docker has it. Faults: SETTINGS_INVALID. */
function parseHost(word: string): string {
  const host = trimTrailing(word.replace(/^https?:\/\//, ""), "/");
  if (/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:\d{1,5})?$/.test(host)) return host;
  throw new Fault(
    "SETTINGS_INVALID",
    `${JSON.stringify(word)} is no registry; a host, with a port where it needs one, such as registry.example:5000.`,
  );
}

/** As docker does it: only on this machine it is spoken to without TLS. */
export function isOnThisMachine(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(host);
}
