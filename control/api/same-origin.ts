import type { IncomingHttpHeaders } from "node:http";

/**
 * Whether a page of this server's own origin, or of one of `allowed`, made this request. What says nothing about where it
 * comes from is not from there: a browser that sends the cookie by itself always says one of the three.
 */
export function isSameOrigin(headers: IncomingHttpHeaders, allowed: readonly string[]): boolean {
  // A sandboxed page says `Origin: null`, and its `Referer` must not make up for that.
  const from = originOf(headers.origin ?? headers.referer);
  if (from !== undefined && allowed.some((origin) => originOf(origin) === from)) return true;
  const site = headers["sec-fetch-site"];
  // `none`: typed or bookmarked by the user.
  if (site !== undefined) return site === "same-origin" || site === "none";
  // The scheme is left out: behind a load balancer that ends TLS, this side does not know it.
  return from !== undefined && from.slice(from.indexOf("//") + 2) === headers.host?.toLowerCase();
}

function originOf(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined;
  const { origin } = new URL(url);
  return origin === "null" ? undefined : origin;
}
