import { Fault } from "../../fault.ts";
import type { Answer, Head, HeaderEdits, HeaderLine } from "../decision.ts";

/**
 * Which pages may call. A browser sends its cookies along whoever wrote the page, so an upgrade that only a cookie
 * vouches for must come from the same origin or a permitted one. Without `Origin` it is no browser.
 * Faults: ORIGIN_NOT_PERMITTED.
 */
export function checkOrigin(head: Head, origins: readonly string[]): void {
  const origin = head.header("origin");
  if (origin === undefined || origins.includes(origin) || isSameHost(origin, head.header("host"))) return;
  throw new Fault("ORIGIN_NOT_PERMITTED", "Pages of this origin may not open WebSockets here; BERTH_ORIGINS lists those that may");
}

/** The answer to a preflight of a permitted origin, which carries no credential by its nature; undefined for anything else. */
export function preflightAnswer(head: Head, origins: readonly string[]): Answer | undefined {
  const origin = head.header("origin");
  const method = head.header("access-control-request-method");
  if (head.method !== "OPTIONS" || method === undefined || origin === undefined || !origins.includes(origin)) return undefined;
  const asked = head.header("access-control-request-headers");
  const headers: HeaderLine[] = [
    ...permission(origin),
    ["Access-Control-Allow-Methods", method],
    ...(asked === undefined ? [] : [["Access-Control-Allow-Headers", asked] as const]),
    ["Access-Control-Max-Age", "600"],
  ];
  return { status: 204, reason: "No Content", headers, body: "" };
}

/** What a permitted page of another origin needs to read the response, in place of whatever the container says. */
export function originEdits(head: Head, origins: readonly string[]): HeaderEdits {
  const origin = head.header("origin");
  if (origin === undefined || !origins.includes(origin)) return { remove: [], add: [] };
  return { remove: ["access-control-allow-origin", "access-control-allow-credentials"], add: permission(origin) };
}

function permission(origin: string): HeaderLine[] {
  return [
    ["Access-Control-Allow-Origin", origin],
    ["Access-Control-Allow-Credentials", "true"],
    ["Vary", "Origin"],
  ];
}

/** Compares hosts only: behind a load balancer that ends TLS, the scheme of this connection says nothing. */
function isSameHost(origin: string, host: string | undefined): boolean {
  if (host === undefined || !URL.canParse(origin)) return false;
  const page = new URL(origin);
  return URL.canParse(`${page.protocol}//${host}`) && new URL(`${page.protocol}//${host}`).host === page.host;
}
