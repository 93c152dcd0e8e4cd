import type { HeaderOf } from "./sign-in.ts";

/**
 * The page that made a request: this server's `own`, one of a `permitted` origin, a `foreign` one; `none`: its user typed the address, or opened a link of another
 * program, such as a mail; or `unsaid`. Browsers send `Origin` with every upgrade
 * and every method that changes something; with a GET they may send no header about the page.
 */
type PageOrigin = "own" | "permitted" | "foreign" | "none" | "unsaid";

type Line = readonly [name: string, value: string];

/** Changes nothing by the method's own meaning (RFC 9110 §9.2.1). */
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
/** How long a browser may remember a preflight's answer. */
const REMEMBER_SECONDS = 600;
/** Headers that a page can always read, or never. */
const NOT_EXPOSED = /^(cache-control|content-(language|length|type)|expires|last-modified|pragma|set-cookie2?|vary|access-control-.*)$/;

export function isSafe(method: string): boolean {
  return SAFE_METHODS.has(method);
}

/** The origin of the page of a request (its `Origin`), if it is permitted. */
export function permittedOrigin(origin: string | undefined, permitted: readonly string[]): string | undefined {
  return origin !== undefined && permitted.includes(origin) ? origin : undefined;
}

export function pageOf(header: HeaderOf, permitted: readonly string[]): PageOrigin {
  // A sandboxed page sends `Origin: null`: its `Referer` does not count.
  const source = header("origin") ?? header("referer");
  const from = originOf(source);
  if (from !== undefined && permitted.includes(from)) return "permitted";
  // Not in a handshake: browsers differ in whether ws: and http: are one site.
  const site = header("upgrade") === undefined ? header("sec-fetch-site") : undefined;
  if (site === "none") return "none";
  if (site !== undefined) return site === "same-origin" ? "own" : "foreign";
  if (source === undefined) return "unsaid";
  return from !== undefined && isHost(from, header("host")) ? "own" : "foreign";
}

/** The headers of the response to a preflight of a permitted origin; undefined for other requests. A preflight has no credentials. */
export function preflightLines(method: string, header: HeaderOf, permitted: readonly string[]): Line[] | undefined {
  if (method !== "OPTIONS") return undefined;
  const origin = header("origin");
  const requestedMethod = header("access-control-request-method");
  if (requestedMethod === undefined || origin === undefined || !permitted.includes(origin)) return undefined;
  const requestedHeaders = header("access-control-request-headers");
  return [
    ...permission(origin),
    ["Access-Control-Allow-Methods", requestedMethod],
    ...(requestedHeaders === undefined ? [] : [["Access-Control-Allow-Headers", requestedHeaders] as const]),
    ["Access-Control-Max-Age", String(REMEMBER_SECONDS)],
  ];
}

/**
 * The headers that let a page of a permitted origin read a response with the header names (lower case) `names`. None if the response has CORS headers of
 * its own.
 */
export function permissionLines(origin: string, names: readonly string[]): Line[] {
  if (names.includes("access-control-allow-origin")) return [];
  // With credentials, `*` would be a header of that name.
  const exposed = [...new Set(names)].filter((name) => !NOT_EXPOSED.test(name));
  return [...permission(origin), ...(exposed.length === 0 ? [] : [["Access-Control-Expose-Headers", exposed.join(", ")] as const])];
}

function permission(origin: string): Line[] {
  return [
    ["Access-Control-Allow-Origin", origin],
    ["Access-Control-Allow-Credentials", "true"],
    ["Vary", "Origin"],
  ];
}

function originOf(url: string | undefined): string | undefined {
  const parsed = url === undefined ? null : URL.parse(url);
  return parsed === null || parsed.origin === "null" ? undefined : parsed.origin;
}

/** Compares hosts only: behind a load balancer that ends TLS, the scheme of this connection differs. */
function isHost(origin: string, host: string | undefined): boolean {
  const page = new URL(origin);
  return URL.parse(`${page.protocol}//${host ?? ""}`)?.host === page.host;
}
