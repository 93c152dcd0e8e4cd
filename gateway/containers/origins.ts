import { isSafe, pageOf, permissionLines, preflightLines } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import type { DirectResponse, Head, HeaderLine } from "../decision.ts";

/**
 * Refuses pages of foreign origins. A browser sends its cookies with the requests of every page. So an upgrade or an unsafe method that only a cookie
 * authenticates must come from the same origin or a permitted one. Browsers always name the origin of those two; a request without an origin is not
 * from a page. Faults: ORIGIN_NOT_PERMITTED.
 */
export function checkOrigin(head: Head, origins: readonly string[]): void {
  if (!head.upgrade && isSafe(head.method)) return;
  if (pageOf((name) => head.header(name), origins) === "foreign") {
    throw new Fault("ORIGIN_NOT_PERMITTED", "Pages of this origin may not do this with the browser's cookie; BERTH_ORIGINS lists those that may");
  }
}

/** The response to a preflight of a permitted origin; undefined for anything else. */
export function preflightResponse(head: Head, origins: readonly string[]): DirectResponse | undefined {
  const headers = preflightLines(head.method, (name) => head.header(name), origins);
  return headers && { status: 204, reason: "No Content", headers, body: "" };
}

/** Adds the headers that let a page of a permitted origin read a direct response. */
export function readable(origin: string | undefined, answer: DirectResponse): DirectResponse {
  const names = answer.headers.map(([name]) => name.toLowerCase());
  return { ...answer, headers: [...answer.headers, ...originLines(origin, names)] };
}

/** The headers that let a page of this origin read a response with these header names (lower case); none if the container sends its own. */
export function originLines(origin: string | undefined, names: readonly string[]): readonly HeaderLine[] {
  return origin === undefined ? [] : permissionLines(origin, names);
}

/**
 * A service worker that unregisters itself. Browsers also request the script of a registered worker, so this replaces a worker that a container's page
 * registered before berth refused them.
 */
const SCRIPT = `// Containers share the edge's origin, so their pages cannot register service workers here.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.registration.unregister()));
`;

/**
 * The response to a browser that requests the script of a service worker. It sends `Service-Worker: script`, which a page cannot prevent. A worker of
 * one container would intercept all later requests of its scope.
 */
export const SERVICE_WORKER_RESPONSE: DirectResponse = {
  status: 200,
  reason: "OK",
  headers: [
    ["Content-Type", "text/javascript; charset=utf-8"],
    ["Content-Length", String(Buffer.byteLength(SCRIPT))],
    ["Cache-Control", "no-store"],
    // Without it, a browser keeps a worker whose scope is wider than the folder of its script.
    ["Service-Worker-Allowed", "/"],
    ["X-Content-Type-Options", "nosniff"],
  ],
  body: SCRIPT,
};

/**
 * Response headers (lower case) that affect the whole origin: the scope of service workers, the cookies and storage of all containers, whether the browser reports
 * each of its later requests to another server (Network Error Logging), and whether it still uses ports of this host without TLS.
 */
export const ORIGIN_WIDE_HEADERS: readonly string[] = ["service-worker-allowed", "clear-site-data", "nel", "strict-transport-security"];
