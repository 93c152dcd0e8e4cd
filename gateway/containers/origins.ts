import { isSafe, pageOf, permissionLines, preflightLines } from "../../lib/browser-requests.ts";
import { Fault } from "../../lib/fault.ts";
import type { DirectResponse, Head, HeaderLine } from "../decision.ts";

/**
 * Which pages may call. A browser sends its cookies along whoever wrote the page, so an upgrade, or a method that changes
 * something, for which only a cookie vouches must come from the same origin or a permitted one. With neither does a browser
 * leave out where it comes from: who says nothing is none. Faults: ORIGIN_NOT_PERMITTED.
 */
export function checkOrigin(head: Head, origins: readonly string[]): void {
  if (!head.upgrade && isSafe(head.method)) return;
  if (pageOf(head.header, origins) === "foreign") {
    throw new Fault("ORIGIN_NOT_PERMITTED", "Pages of this origin may not do this with the browser's cookie; BERTH_ORIGINS lists those that may");
  }
}

/** The answer to a preflight of a permitted origin; undefined for anything else. */
export function preflightAnswer(head: Head, origins: readonly string[]): DirectResponse | undefined {
  const headers = preflightLines(head.method, head.header, origins);
  return headers && { status: 204, reason: "No Content", headers, body: "" };
}

/** Adds what a page of a permitted origin needs to read an answer of our own. */
export function readable(head: Head, answer: DirectResponse, origins: readonly string[]): DirectResponse {
  return {
    ...answer,
    headers: [
      ...answer.headers,
      ...originLines(
        head,
        answer.headers.map(([name]) => name.toLowerCase()),
        origins,
      ),
    ],
  };
}

/** What such a page needs to read a response with these header names, in lower case; nothing where the container says by itself who may. */
export function originLines(head: Head, names: readonly string[], origins: readonly string[]): readonly HeaderLine[] {
  return permissionLines(head.header, origins, names);
}

/**
 * A service worker that leaves again. Browsers ask for the script of a worker that is registered already, too; so a worker that a container's page
 * registered before this rule existed is replaced by this one, and then gone.
 */
const SCRIPT = `// Containers share the edge's origin, so their pages cannot register service workers here.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.registration.unregister()));
`;

const ANSWER: DirectResponse = {
  status: 200,
  reason: "OK",
  headers: [
    ["Content-Type", "text/javascript; charset=utf-8"],
    ["Content-Length", String(Buffer.byteLength(SCRIPT))],
    ["Cache-Control", "no-store"],
    // Without it, a browser keeps a worker whose scope is wider than its script's folder, and does not take this one in its place.
    ["Service-Worker-Allowed", "/"],
    ["X-Content-Type-Options", "nosniff"],
  ],
  body: SCRIPT,
};

/**
 * The answer to a browser that asks for the script of a service worker (it sends `Service-Worker: script`, which a page cannot prevent). A worker of one
 * container would see every later request of its scope. No credential is needed: the answer is the same for everybody.
 */
export function serviceWorkerAnswer(head: Head): DirectResponse | undefined {
  return head.header("service-worker") === undefined ? undefined : ANSWER;
}

/**
 * Response headers (lower case) with which a container would act for the whole origin: the scope of a service worker beyond its own path, and the
 * removal of everybody's cookies and storage.
 */
export const OF_THE_ORIGIN: readonly string[] = ["service-worker-allowed", "clear-site-data"];
