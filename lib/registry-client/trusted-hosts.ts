import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { getDomain } from "tldts";
import { Fault } from "../fault.ts";
import { blockListOf, LINK_AND_METADATA } from "../refused-addresses.ts";

/** Where to connect to: a checked address, or a host that an administrator named. `servername` is empty for an address. */
type RegistryTarget = { host: string; port: number; tls?: { servername: string } };

/** The hosts to which requests to a registry, and its redirects, may go. */
export type RedirectRules = {
  /** Faults: REDIRECT_REFUSED. */
  targetOf(url: URL): Promise<RegistryTarget>;
};

/** Stores of layers in other domains to which registries redirect, by the registry's domain. */
const STORES: Readonly<Record<string, readonly string[]>> = {
  "amazonaws.com": ["*.amazonaws.com"],
  "amazonaws.com.cn": ["*.amazonaws.com.cn"],
  "azurecr.io": ["*.blob.core.windows.net"],
  "docker.io": ["*.docker.com", "*.r2.cloudflarestorage.com"],
  "gcr.io": ["storage.googleapis.com"],
  "ghcr.io": ["pkg-containers.githubusercontent.com"],
  "gitlab.com": ["storage.googleapis.com", "*.gitlab-static.net"],
  "k8s.io": ["*.pkg.dev", "*.amazonaws.com", "storage.googleapis.com"],
  "pkg.dev": ["storage.googleapis.com"],
  "quay.io": ["*.amazonaws.com"],
};

/** This machine, multicast groups, and the addresses that no container may have. */
const isForbidden = blockListOf(LINK_AND_METADATA, {
  ipv4: [
    ["0.0.0.0", 8],
    ["127.0.0.0", 8],
    ["224.0.0.0", 3],
  ],
  ipv6: [
    ["::", 127],
    ["ff00::", 8],
  ],
});

/**
 * `listed` are hosts, `host:port` or `*.domain`; the registry's own domain is allowed too. A name that is not listed is resolved and checked, and the
 * connection goes to that address: the name cannot change it meanwhile. A registry that the settings name may have any address; with
 * `named: "by author"`, a registry that a package names is checked like any other host.
 */
export function redirectRules(
  registry: { hostname: string; port: number },
  listed: readonly string[],
  named: "by settings" | "by author" = "by settings",
): RedirectRules {
  const domain = registrable(registry.hostname);
  const suffix = getDomain(registry.hostname) ?? "";
  const allowed = STORES[suffix] ?? [];

  return {
    targetOf: async (url) => {
      const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
      const secure = url.protocol === "https:";
      const port = Number(url.port) || (secure ? 443 : 80);
      const tls = secure ? { tls: { servername: isIP(host) === 0 ? host : "" } } : {};
      const refused = (why: string) => new Fault("REDIRECT_REFUSED", `The registry leads to ${host}, ${why}`);
      if (!secure && url.protocol !== "http:") throw refused("but not by http or https");
      if (listed.some((rule) => matchesHost(rule, host, port))) return { host, port, ...tls };
      if (named === "by settings" && host === registry.hostname && port === registry.port) return { host, port, ...tls };
      const own = host === registry.hostname || (domain !== undefined && registrable(host) === domain);
      if (!own && !allowed.some((rule) => matchesHost(rule, host, port))) throw refused("which is not allowed: BERTH_REGISTRY_REDIRECT_HOSTS");
      const address = await addressOf(host).catch(() => undefined);
      if (address === undefined) throw refused("which has no address");
      if (isForbidden(address)) throw refused("which is an address of this machine or of its link: only BERTH_REGISTRY_REDIRECT_HOSTS may allow it");
      return { host: address, port, ...tls };
    },
  };
}

/** Whether a host matches a rule: a host, `host:port` or `*.domain`. */
export function matchesHost(rule: string, host: string, port: number): boolean {
  const [, name = "", at] = /^(.*?)(?::(\d+))?$/.exec(rule.toLowerCase()) ?? [];
  if (at !== undefined && Number(at) !== port) return false;
  return name.startsWith("*.") ? host.endsWith(name.slice(1)) : host === name;
}

async function addressOf(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

/** What berth sends to a registry's token server: the login of the registry, a request without credentials, or nothing. */
type RealmTrust = "credentials" | "question" | "nothing";

/**
 * A registry names its token server itself, so a compromised registry could have credentials sent anywhere. They go to the registry's own host, or to
 * one of the same registrable domain (registry-1.docker.io and auth.docker.io), and never from https to http. Addresses and localhost have no domain:
 * only the same host counts. Other public names get requests without credentials over https; hosts inside a network get none.
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

/** This machine, by name or loopback address. */
export function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || hostname === "::1" || (isIP(hostname) === 4 && hostname.startsWith("127."));
}

/** The domain of one owner; undefined for addresses and this machine. Private suffixes count: two customers of one cloud are two owners. */
export function registrable(hostname: string): string | undefined {
  if (isIP(hostname) !== 0 || isLocal(hostname)) return undefined;
  return getDomain(hostname, { allowPrivateDomains: true, validateHostname: true }) ?? undefined;
}
