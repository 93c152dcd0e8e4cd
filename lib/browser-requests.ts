import type { HeaderOf } from "./sign-in.ts";

/**
 * Whose page made a request: this server's `own`, one of a `permitted` origin, a `foreign` one, or `unsaid`. A browser says
 * `Origin` with every upgrade and every method that changes something; with a GET it may say nothing at all.
 */
export type PageOrigin = "own" | "permitted" | "foreign" | "unsaid";

/** A header line as it is written. */
type Line = readonly [name: string, value: string];

/** Changes nothing by the method's own meaning (RFC 9110 §9.2.1). */
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
/** How long a browser may remember a preflight's answer. */
const REMEMBER_SECONDS = 600;
/** What a page may read in any case, or never. */
const NOT_EXPOSED = /^(cache-control|content-(language|length|type)|expires|last-modified|pragma|set-cookie2?|vary|access-control-.*)$/;

export function isSafe(method: string): boolean {
  return SAFE_METHODS.has(method);
}

/** `permitted` are origins as browsers write them. */
export function pageOf(header: HeaderOf, permitted: readonly string[]): PageOrigin {
  // A sandboxed page says `Origin: null`, and its `Referer` must not make up for that.
  const said = header("origin") ?? header("referer");
  const from = originOf(said);
  if (from !== undefined && permitted.includes(from)) return "permitted";
  // Not in a handshake: whether ws: and http: are one site, browsers do not agree on.
  const site = header("upgrade") === undefined ? header("sec-fetch-site") : undefined;
  // `none`: typed or bookmarked by the user.
  if (site !== undefined) return site === "same-origin" || site === "none" ? "own" : "foreign";
  if (said === undefined) return "unsaid";
  return from !== undefined && isHost(from, header("host")) ? "own" : "foreign";
}

/** The head of the answer to a preflight of a permitted origin, which shows no credential by its nature; undefined for anything else. */
export function preflightLines(method: string, header: HeaderOf, permitted: readonly string[]): Line[] | undefined {
  if (method !== "OPTIONS") return undefined;
  const origin = header("origin");
  const wanted = header("access-control-request-method");
  if (wanted === undefined || origin === undefined || !permitted.includes(origin)) return undefined;
  const asked = header("access-control-request-headers");
  return [
    ...permission(origin),
    ["Access-Control-Allow-Methods", wanted],
    ...(asked === undefined ? [] : [["Access-Control-Allow-Headers", asked] as const]),
    ["Access-Control-Max-Age", String(REMEMBER_SECONDS)],
  ];
}

/**
 * What lets a page of a permitted origin read an answer whose header names (lower case) are `names`. Nothing where the
 * answer says by itself who may: that is then the business of whoever wrote it.
 */
export function permissionLines(header: HeaderOf, permitted: readonly string[], names: readonly string[]): Line[] {
  const origin = header("origin");
  if (origin === undefined || !permitted.includes(origin) || names.includes("access-control-allow-origin")) return [];
  // `*` would not do: with credentials it is a header of that name.
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
  if (url === undefined || !URL.canParse(url)) return undefined;
  const { origin } = new URL(url);
  return origin === "null" ? undefined : origin;
}

/** Hosts only: behind a load balancer that ends TLS, the scheme of this connection says nothing. */
function isHost(origin: string, host: string | undefined): boolean {
  const page = new URL(origin);
  const own = `${page.protocol}//${host ?? ""}`;
  return URL.canParse(own) && new URL(own).host === page.host;
}
