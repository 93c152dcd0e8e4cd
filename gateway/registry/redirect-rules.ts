import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { getDomain } from "tldts";
import { Fault } from "../../fault.ts";
import type { Target } from "../directory.ts";

/** Where redirects of a registry may be followed to. */
export type RedirectRules = {
  /** Where to connect to for it. Faults: REDIRECT_REFUSED. */
  targetOf(url: URL): Promise<Target>;
};

/** Stores of layers that registries lead to although they are in another domain, by the registry's own. */
const STORES: Readonly<Record<string, readonly string[]>> = { "amazonaws.com": ["*.amazonaws.com"], "amazonaws.com.cn": ["*.amazonaws.com.cn"] };

/** This machine, whatever is on its own link, and the metadata of clouds, which hands out credentials: Alibaba's and Oracle's have addresses of their own. */
const NEVER = new BlockList();
for (const [address, bits] of [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["224.0.0.0", 3],
  ["100.100.100.200", 32],
  ["192.0.0.192", 32],
] as const) {
  NEVER.addSubnet(address, bits, "ipv4");
  // The same as networks without IPv4 reach it (NAT64, RFC 6052).
  NEVER.addSubnet(`64:ff9b::${address}`, 96 + bits, "ipv6");
}
for (const [address, bits] of [
  ["::", 127],
  ["fe80::", 10],
  ["ff00::", 8],
  ["fd00:ec2::254", 128],
] as const)
  NEVER.addSubnet(address, bits, "ipv6");

/**
 * `listed` are hosts, `host:port` or `*.domain`; beside them the registry's own domain is allowed. A name that is not listed is looked up
 * first, and what it was found to be is what is connected to: no name becomes another address in between.
 */
export function redirectRules(registry: { hostname: string; port: number }, listed: readonly string[]): RedirectRules {
  const domain = registrable(registry.hostname);
  const suffix = getDomain(registry.hostname) ?? "";
  const allowed = STORES[suffix] ?? [];

  return {
    targetOf: async (url) => {
      const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
      const secure = url.protocol === "https:";
      const port = Number(url.port) || (secure ? 443 : 80);
      const tls = secure ? { tls: { servername: isIP(host) === 0 ? host : "" } } : {};
      const refused = (why: string) => new Fault("REDIRECT_REFUSED", `The registry behind leads to ${host}, ${why}`);
      if (!secure && url.protocol !== "http:") throw refused("but not by http or https");
      if (listed.some((rule) => matches(rule, host, port))) return { host, port, ...tls };
      if (host === registry.hostname && port === registry.port) return { host, port, ...tls };
      const own = host === registry.hostname || (domain !== undefined && registrable(host) === domain);
      if (!own && !allowed.some((rule) => matches(rule, host, port))) throw refused("which is not allowed: BERTH_REGISTRY_REDIRECT_HOSTS");
      const address = await addressOf(host).catch(() => undefined);
      if (address === undefined) throw refused("which has no address");
      if (isForbidden(address)) throw refused("which is an address of this machine or of its link: only BERTH_REGISTRY_REDIRECT_HOSTS may allow it");
      return { host: address, port, ...tls };
    },
  };
}

function matches(rule: string, host: string, port: number): boolean {
  const [, name = "", at] = /^(.*?)(?::(\d+))?$/.exec(rule.toLowerCase()) ?? [];
  if (at !== undefined && Number(at) !== port) return false;
  return name.startsWith("*.") ? host.endsWith(name.slice(1)) : host === name;
}

function registrable(host: string): string | undefined {
  return isIP(host) === 0 ? (getDomain(host, { allowPrivateDomains: true, validateHostname: true }) ?? undefined) : undefined;
}

async function addressOf(host: string): Promise<string> {
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}

function isForbidden(address: string): boolean {
  return NEVER.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}
