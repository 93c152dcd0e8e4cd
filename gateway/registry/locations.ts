import type { HeaderEdits, HeaderLine, ResponseHeadView, IncomingRequest, Head } from "../decision.ts";
import type { Upstream } from "./upstream/upstream.ts";
import { matchesHost, registrable } from "../../lib/registry-client/trusted-hosts.ts";
import { readV2Path } from "./authorize.ts";
import type { TrustedProxies } from "../forwarded-headers.ts";

/** Where a request was sent, and from whom it came: what an address in its answer is read against. */
export type UpstreamRequest = {
  upstream: Pick<Upstream, "host" | "basePath" | "nameOf" | "target">;
  /** As the client named it; undefined for `_catalog`. */
  repository: string | undefined;
  /** The target that was sent, in origin form. */
  target: string;
  /** The proxy's own address as the client sees it. */
  publicOrigin: string;
  /** The request changes something: a client that follows its answer sends a layer there, and a token. */
  writes?: boolean;
  /** Hosts, `host:port` or `*.domain`, at which an upload may go on beside the registry's own domain. */
  uploadHosts?: readonly string[];
};

/** `http://registry.example`, as the registry itself would name itself. */
export function upstreamOrigin({ upstream: { target, host } }: Pick<UpstreamRequest, "upstream">): string {
  return `${"tls" in target && target.tls !== undefined ? "https" : "http"}://${host}`;
}

/** The edits that make `Location` and `Link` lead back here where they lead to the registry. */
export function locationEdits(from: UpstreamRequest, received: ResponseHeadView): HeaderEdits {
  const remove: string[] = [];
  const add: HeaderLine[] = [];
  const location = received.header("location");
  const led = location === undefined ? undefined : proxyAddress(from, location, isRedirect(received.status) && from.writes !== true);
  // A client takes the rest of its layer there, and its token. Without the header its push fails, and nothing goes astray.
  if (location !== undefined && from.writes === true && leavesRegistry(from, led ?? location)) remove.push("location");
  else if (led !== undefined && led !== location) {
    remove.push("location");
    add.push(["Location", led]);
  }
  const link = received.header("link");
  const relinked = link?.replace(/<([^<>]*)>/g, (_, address: string) => `<${proxyAddress(from, address, true) ?? address}>`);
  if (relinked !== undefined && relinked !== link) {
    remove.push("link");
    add.push(["Link", relinked]);
  }
  return { remove, add };
}

export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/**
 * The address that leads here to what `address` leads to, as relative as it came; undefined where it cannot be read. A redirect elsewhere is
 * meant, to a store of blobs say, and stays; where an upload goes on is here, under whatever name the registry knows itself.
 */
function proxyAddress(from: UpstreamRequest, address: string, elsewhereIsMeant: boolean): string | undefined {
  const own = upstreamOrigin(from);
  if (!URL.canParse(address, own + from.target)) return undefined;
  const url = new URL(address, own + from.target);
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  const atHome = url.hostname === new URL(own).hostname;
  const path = proxyPath(from, url.pathname);
  const relative = !/^(?:[a-z][a-z0-9+.-]*:)?\/\//i.test(address);
  // Nothing that this proxy has: the client finds it at the registry itself, or not at all.
  if (path === undefined) return relative ? url.href : address;
  if (!atHome && elsewhereIsMeant) return address;
  // The query byte for byte: it may be signed.
  const at = address.indexOf("?");
  return `${relative ? "" : from.publicOrigin}${path}${at === -1 ? "" : address.slice(at)}`;
}

/** Whether it is neither here nor at the registry's own domain, nor listed. */
function leavesRegistry(from: UpstreamRequest, address: string): boolean {
  const own = new URL(upstreamOrigin(from));
  const url = URL.parse(address, from.publicOrigin);
  if (url === null) return true;
  const hostname = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const registry = own.hostname.replace(/^\[|\]$/g, "");
  const domain = registrable(hostname);
  if (url.origin === new URL(from.publicOrigin).origin || hostname === registry || (domain !== undefined && domain === registrable(registry)))
    return false;
  const port = Number(url.port) || (url.protocol === "https:" ? 443 : 80);
  return from.uploadHosts?.some((rule) => matchesHost(rule, hostname, port)) !== true;
}

/** The path under which this proxy has what the registry has under `path`; undefined for what is none of a registry's. */
function proxyPath({ upstream: { basePath, nameOf }, repository }: UpstreamRequest, path: string): string | undefined {
  if (!path.startsWith(`${basePath}/v2/`)) return undefined;
  const bare = path.slice(basePath.length);
  const found = readV2Path(bare);
  if (found === undefined) return undefined;
  if (!("repository" in found) || repository === undefined || found.repository !== nameOf(repository)) return bare;
  return `/v2/${repository}${found.tail}`;
}

const AUTHORITY = /^[A-Za-z0-9._~-]+(?::\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::\d{1,5})?$/;

/** The address of the proxy as the client sees it, e.g. `https://registry.example`; a trusted load balancer says so where there is one. */
export function publicOriginOf(
  { head, peer, tls }: Pick<IncomingRequest, "peer" | "tls"> & { head: Pick<Head, "header"> },
  trusted: TrustedProxies,
): string {
  const trusts = trusted.trusts(peer.address);
  const proto = trusts ? firstOf(head.header("x-forwarded-proto"))?.toLowerCase() : undefined;
  const host = trusts ? firstOf(head.header("x-forwarded-host")) : undefined;
  const scheme = proto === "http" || proto === "https" ? proto : tls ? "https" : "http";
  // It ends up within quotes, and in redirects: nothing but an authority may.
  const authority = [host, head.header("host")].find((one) => one !== undefined && AUTHORITY.test(one));
  return `${scheme}://${authority ?? "localhost"}`;
}

/** Each proxy on the way may have added its own behind the first. */
function firstOf(value: string | undefined): string | undefined {
  return value?.split(",", 1)[0]?.trim();
}
