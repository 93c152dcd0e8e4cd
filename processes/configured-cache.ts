import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Settings } from "../conf/settings.ts";
import type { RegistryCache } from "../gateway/registry/cache/cached-names.ts";
import { parseRegistryAddress } from "../gateway/registry/upstream/registry-address.ts";
import type { Clock } from "../lib/clock.ts";
import { Fault } from "../lib/fault.ts";
import type { Log } from "../lib/log.ts";
import type { Metrics } from "../lib/metrics/open-metrics.ts";
import { findLogin, loginOf, parseDockerAuths } from "../lib/registry-client/docker-config.ts";
import type { RegistryLogin } from "../lib/registry-client/registry-login.ts";

const GIGABYTE = 1_000_000_000;
const DAY_MS = 24 * 3_600_000;

/** The cache that the settings name; undefined: none. Faults: SETTINGS_INVALID. */
export async function openConfiguredCache(
  { registryCache, registry, data }: Settings,
  tools: { metrics: Metrics; clock: Clock; log: Log },
): Promise<(RegistryCache & { close(): Promise<void> }) | undefined> {
  const { upstreams, mirrorHost, anonymousPull, freshSeconds, maxGb, unusedDays, folder, logins } = registryCache;
  if (upstreams.length === 0) return undefined;
  const loginAt = logins === undefined ? () => undefined : readLogins(logins);
  const named = upstreams.map((text) => {
    const [name = "", ...given] = text.split("=");
    const address = parseRegistryAddress(given.length === 0 ? name : given.join("="), "An address in BERTH_REGISTRY_CACHE");
    return { name, address, login: loginAt([name, address.host, address.hostname]) };
  });
  const twice = named.find(({ name }, at) => named.findIndex((other) => other.name === name) !== at);
  if (twice) throw new Fault("SETTINGS_INVALID", `BERTH_REGISTRY_CACHE names ${twice.name} twice.`);
  // A program without a cache does without its code.
  const { openCache } = await import("../gateway/registry/cache/open-cache.ts");
  return openCache({
    folder: resolve(folder ?? join(data, "registry/cache")),
    maxBytes: maxGb * GIGABYTE,
    unusedMs: unusedDays * DAY_MS,
    upstreams: named,
    mirrorHost,
    anonymousPull,
    freshMs: freshSeconds * 1_000,
    redirectHosts: registry.redirectHosts,
    ...tools,
  });
}

/** The logins of a Docker `config.json`, by any of a registry's hosts. Faults: SETTINGS_INVALID, without a value of the file. */
function readLogins(path: string): (hosts: readonly string[]) => RegistryLogin | undefined {
  const invalid = (why: string, cause?: unknown) =>
    new Fault("SETTINGS_INVALID", `BERTH_REGISTRY_CACHE_LOGINS cannot be used: ${path} ${why}.`, { cause });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw invalid(`cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`, error);
  }
  const auths = parseDockerAuths(text);
  if (auths === undefined) throw invalid('is no Docker config.json with {"auths": {…}}');
  const unread = Object.keys(auths).find((host) => loginOf(auths[host] ?? null) === undefined);
  if (unread !== undefined) throw invalid(`has no user and password for ${unread}: a credential helper has them, which berth does not call`);
  return (hosts) => findLogin(auths, hosts);
}
