import { isIP } from "node:net";
import { getDomain } from "tldts";

/** What a registry's token server may be told: the name and password for the registry, nothing but the question, or not even that. */
export type RealmTrust = "credentials" | "question" | "nothing";

/**
 * A registry names its token server itself, so one that was taken over, or that answers in its place, could have credentials sent anywhere.
 * They go to the registry's own host, or to one of the same registrable domain (registry-1.docker.io and auth.docker.io), and never from
 * https down to http. Addresses and localhost have no domain: there only the very same host counts. Others may be asked without credentials
 * where they are public names and speak https; what stands inside a network is not asked at a stranger's wish.
 */
export function realmTrust(realm: URL, registry: { hostname: string; secure: boolean }): RealmTrust {
  if (!/^https?:$/.test(realm.protocol) || realm.username !== "" || realm.password !== "") return "nothing";
  if (registry.secure && realm.protocol !== "https:") return "nothing";
  const hostname = realm.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (hostname === registry.hostname) return "credentials";
  const domain = registrable(hostname);
  if (domain === undefined) return "nothing";
  if (domain === registrable(registry.hostname)) return "credentials";
  return realm.protocol === "https:" ? "question" : "nothing";
}

/** The machine itself: by its name or by an address of its own. */
export function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || hostname === "::1" || (isIP(hostname) === 4 && hostname.startsWith("127."));
}

/** The domain that one owner has; undefined for addresses and this machine. Private suffixes count too: two customers of one cloud below the same domain are strangers. */
export function registrable(hostname: string): string | undefined {
  if (isIP(hostname) !== 0 || isLocal(hostname)) return undefined;
  return getDomain(hostname, { allowPrivateDomains: true, validateHostname: true }) ?? undefined;
}
