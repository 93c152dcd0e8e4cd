import { isIP } from "node:net";
import { Fault } from "../../../lib/fault.ts";
import { HUB_HOST, isHub } from "../../../lib/registry-client/docker-hub.ts";
import { isLocal } from "../../../lib/registry-client/trusted-hosts.ts";
import type { ForwardTarget } from "../../decision.ts";
import type { Upstream } from "./upstream.ts";
import { trimTrailing } from "../../../lib/character-classes.ts";

export type RegistryAddress = {
  target: Extract<ForwardTarget, { host: string }>;
  /** For its Host header and image names: without the default port of the scheme. */
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

/**
 * Parses `host`, `host:port` or a URL, whose path is the prefix of `/v2/`. Without a scheme it is https; http for this machine and for port 5000, the
 * port of registries without a certificate. `named`: what it is, for messages. Faults: SETTINGS_INVALID.
 */
export function parseRegistryAddress(given: string, named = "REGISTRY_URL"): RegistryAddress {
  const text = given.trim();
  const schemed = /^https?:\/\//i.test(text);
  const url = text.includes("://") && !schemed ? undefined : URL.parse(schemed ? text : `https://${text}`);
  // Credentials in a URL would appear in logs. The sentence does not repeat them.
  if (!url || url.hostname === "" || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new Fault("SETTINGS_INVALID", `${named} must be host, host:port or an http or https URL without user, password or query.`);
  }
  const hostname = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const hub = isHub(hostname);
  const secure = schemed ? url.protocol === "https:" : !isLocal(hostname) && url.port !== "5000";
  const basePath = hub ? "" : trimTrailing(url.pathname, "/").replace(/\/v[12]$/, "");
  const name = hub ? HUB_HOST : hostname;
  const implied = secure ? 443 : 80;
  // URL drops the default port of https.
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

/** The members of an upstream that follow from its address. */
export function upstreamPlace({ target, host, basePath, hub }: RegistryAddress): Pick<Upstream, "target" | "host" | "basePath" | "nameOf"> {
  return { target, host, basePath, nameOf: (repository) => (hub && !repository.includes("/") ? `library/${repository}` : repository) };
}
