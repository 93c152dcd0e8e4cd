import type { HeaderEdits, HeaderLine, ResponseHeadView, IncomingRequest, Head } from "../decision.ts";
import type { Upstream } from "./upstream/upstream.ts";
import { matchesHost, registrable } from "../../lib/registry-client/trusted-hosts.ts";
import { parseV2Path } from "./authorize.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";

/** A request to the registry, as far as the addresses in its response depend on it. */
export type UpstreamRequest = {
  upstream: Pick<Upstream, "host" | "basePath" | "nameOf" | "target">;
  /** The client's name of it; undefined for `_catalog`. */
  repository: string | undefined;
  /** In origin form, as sent to the registry. */
  target: string;
  /** The proxy's own address as the client sees it. */
  publicOrigin: string;
  /** The request changes something: a client that follows its response sends a layer there, and a token. */
  writes?: boolean;
  /** Hosts, `host:port` or `*.domain`, at which an upload may continue, beside the registry's own domain. */
  uploadHosts?: readonly string[];
};

/** Such as `http://registry.example`. */
export function upstreamOrigin({ upstream: { target, host } }: Pick<UpstreamRequest, "upstream">): string {
  return `${"tls" in target && target.tls !== undefined ? "https" : "http"}://${host}`;
}

/** The edits by which `Location` and `Link` name this proxy instead of the registry. */
export function locationEdits(from: UpstreamRequest, received: ResponseHeadView): HeaderEdits {
  const remove: string[] = [];
  const add: HeaderLine[] = [];
  const location = received.header("location");
  const rewritten = location === undefined ? undefined : proxyAddress(from, location, isRedirect(received.status) && from.writes !== true);
  // A client sends the rest of its layer there, and its token. Without the header its push fails, and sends nothing to another host.
  if (location !== undefined && from.writes === true && leavesRegistry(from, rewritten ?? location)) remove.push("location");
  else if (rewritten !== undefined && rewritten !== location) {
    remove.push("location");
    add.push(["Location", rewritten]);
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
 * This proxy's address for what `address` names, as relative as it came; undefined if it is not valid. `keepsOtherHosts`: a redirect to another host
 * stays, for example to a store of blobs. An upload continues here, under any name that the registry has for itself.
 */
function proxyAddress(from: UpstreamRequest, address: string, keepsOtherHosts: boolean): string | undefined {
  const own = upstreamOrigin(from);
  if (!URL.canParse(address, own + from.target)) return undefined;
  const url = new URL(address, own + from.target);
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  const isRegistry = url.hostname === new URL(own).hostname;
  const path = proxyPath(from, url.pathname);
  const relative = !/^(?:[a-z][a-z0-9+.-]*:)?\/\//i.test(address);
  // Not a path of this proxy: the client finds it at the registry itself, or not at all.
  if (path === undefined) return relative ? url.href : address;
  if (!isRegistry && keepsOtherHosts) return address;
  // The query byte for byte: it may be signed.
  const at = address.indexOf("?");
  return `${relative ? "" : from.publicOrigin}${path}${at === -1 ? "" : address.slice(at)}`;
}

/** Whether it is neither at this proxy, nor at the registry's own domain, nor listed. */
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

/** This proxy's path for the registry's `path`; undefined for a path outside the registry API. */
function proxyPath({ upstream: { basePath, nameOf }, repository }: UpstreamRequest, path: string): string | undefined {
  if (!path.startsWith(`${basePath}/v2/`)) return undefined;
  const bare = path.slice(basePath.length);
  const v2 = parseV2Path(bare);
  if (v2 === undefined) return undefined;
  if (!("repository" in v2) || repository === undefined || v2.repository !== nameOf(repository)) return bare;
  return `/v2/${repository}${v2.tail}`;
}

const AUTHORITY = /^[A-Za-z0-9._~-]+(?::\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::\d{1,5})?$/;

/** The proxy's address for the client, such as `https://registry.example`. A trusted load balancer reports it in its headers. */
export function publicOriginOf(
  { head, peer, tls }: Pick<IncomingRequest, "peer" | "tls"> & { head: Pick<Head, "header"> },
  trusted: TrustedProxies,
): string {
  const trusts = trusted.trusts(peer.address);
  const proto = trusts ? firstOf(head.header("x-forwarded-proto"))?.toLowerCase() : undefined;
  const host = trusts ? firstOf(head.header("x-forwarded-host")) : undefined;
  const scheme = proto === "http" || proto === "https" ? proto : tls ? "https" : "http";
  // It is used within quotes and in redirects, so only an authority is valid.
  const authority = [host, head.header("host")].find((one) => one !== undefined && AUTHORITY.test(one));
  return `${scheme}://${authority ?? "localhost"}`;
}

/** Each proxy before this one may have added its own after the first. */
function firstOf(value: string | undefined): string | undefined {
  return value?.split(",", 1)[0]?.trim();
}
