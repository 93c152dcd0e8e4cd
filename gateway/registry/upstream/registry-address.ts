import { isIP } from "node:net";
import { Fault } from "../../../lib/fault.ts";
import { isLocal } from "../../../lib/registry-client/trusted-hosts.ts";
import type { ForwardTarget } from "../../decision.ts";
import type { Upstream } from "./upstream.ts";
import { trimTrailing } from "../../../lib/trim-trailing.ts";

/** Where a registry is. */
export type RegistryAddress = {
  target: Extract<ForwardTarget, { host: string }>;
  /** As its Host header and in image names: without a port that the scheme implies. */
  host: string;
  /** Without port, in lower case, and without an IPv6 address's brackets. */
  hostname: string;
  secure: boolean;
  basePath: string;
  /** `https://host/base`: what `/v2/` is appended to. */
  root: string;
  /** Docker Hub keeps names of one part below `library/`. */
  hub: boolean;
};

/** Docker Hub as image names have it, and the host that answers for it. */
export const HUB_NAME = "docker.io";
const HUB = "registry-1.docker.io";
/** What people call Docker Hub; none of them but the last answers the registry's protocol. */
const HUB_NAMES = [HUB_NAME, "index.docker.io", "registry.hub.docker.com", "hub.docker.com", HUB];

/**
 * Reads `host`, `host:port` or a URL, whose path is what stands before `/v2/`. Without a scheme it is https, but http for the machine
 * itself and for port 5000, where registries listen that have no certificate. Faults: SETTINGS_INVALID.
 */
export function readRegistryAddress(given: string): RegistryAddress {
  const text = given.trim();
  const schemed = /^https?:\/\//i.test(text);
  const url = text.includes("://") && !schemed ? undefined : URL.parse(schemed ? text : `https://${text}`);
  // Credentials in a URL would turn up in logs; the sentence must not repeat them.
  if (!url || url.hostname === "" || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new Fault("SETTINGS_INVALID", "REGISTRY_URL must be host, host:port or an http or https URL without user, password or query.");
  }
  const hostname = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const hub = isHub(hostname);
  const secure = schemed ? url.protocol === "https:" : !isLocal(hostname) && url.port !== "5000";
  const basePath = hub ? "" : trimTrailing(url.pathname, "/").replace(/\/v[12]$/, "");
  const name = hub ? HUB : hostname;
  const implied = secure ? 443 : 80;
  // The URL dropped the port that https implies.
  const port = url.port === "" ? (/:443(\/|$)/.test(text) && !schemed ? 443 : implied) : Number(url.port);
  const host = `${isIP(name) === 6 ? `[${name}]` : name}${port === implied ? "" : `:${port}`}`;
  return {
    target: { host: name, port, ...(secure ? { tls: { servername: isIP(name) ? "" : name } } : {}) },
    host,
    hostname: name,
    secure,
    basePath,
    root: `${secure ? "https" : "http"}://${host}${basePath}`,
    hub,
  };
}

/** Whether it is one of Docker Hub's names. */
export function isHub(hostname: string): boolean {
  return HUB_NAMES.includes(hostname);
}

/** What an upstream says of where it is. */
export function upstreamPlace({ target, host, basePath, hub }: RegistryAddress): Pick<Upstream, "target" | "host" | "basePath" | "nameOf"> {
  return { target, host, basePath, nameOf: (repository) => (hub && !repository.includes("/") ? `library/${repository}` : repository) };
}
