/**
 * What belongs to one connection and never travels on (RFC 9110 §7.6.1), in lower case. `Transfer-Encoding` and `Trailer` belong
 * here too, but travel with a body that is passed as the bytes it came as; who takes a body apart drops them as well.
 */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "upgrade",
]);

/**
 * What `Connection` may not make hop-by-hop: what says where a message ends, what a decision was made on (it would be true of
 * another message than the one that is sent), and what a proxy in front of this one has vouched for.
 */
const NEVER_NAMED: ReadonlySet<string> = new Set([
  "host",
  "trailer",
  "transfer-encoding",
  "expect",
  "authorization",
  "cookie",
  "set-cookie",
  "x-user-api-key",
  "x-real-ip",
  "forwarded",
  "origin",
  "via",
  "traceparent",
  "tracestate",
]);

const NEVER_NAMED_FAMILIES = ["content-", "x-forwarded-", "sec-", "access-control-"];

/** Whether `Connection` may name this field (in lower case) as one that does not travel on. */
export function mayBeNamed(name: string): boolean {
  return !NEVER_NAMED.has(name) && !NEVER_NAMED_FAMILIES.some((family) => name.startsWith(family));
}
