import type { Answer, Head } from "../decision.ts";

/**
 * A service worker that leaves again. Browsers ask for the script of a worker that is registered already, too; so a worker that a container's page
 * registered before this rule existed is replaced by this one, and then gone.
 */
const SCRIPT = `// Containers share the edge's origin, so their pages cannot register service workers here.
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.registration.unregister()));
`;

const ANSWER: Answer = {
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
export function serviceWorkerAnswer(head: Head): Answer | undefined {
  return head.header("service-worker") === undefined ? undefined : ANSWER;
}

/**
 * Response headers (lower case) with which a container would act for the whole origin: the scope of a service worker beyond its own path, and the
 * removal of everybody's cookies and storage.
 */
export const OF_THE_ORIGIN: readonly string[] = ["service-worker-allowed", "clear-site-data"];
