import type { IncomingRequest, Head } from "../decision.ts";
import type { TrustedProxies } from "../trusted-proxies.ts";

const AUTHORITY = /^[A-Za-z0-9._~-]+(?::\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::\d{1,5})?$/;

/** The address of the proxy as the client sees it, e.g. `https://registry.example`; a trusted load balancer says so where there is one. */
export function seenByClient(
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
