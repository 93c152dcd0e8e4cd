import type { EngineName } from "../../gateway/connections/engine.ts";

/** One of berth's engines, and the rows that it does not pass, each with the reason. */
export type ProbedEngine = { forwarder: EngineName; cannot: Readonly<Record<string, string>> };

/** A row that is declared here and passes fails the test as well as one that is not and does not: so the page stays true. */
export const ENGINES: readonly ProbedEngine[] = [
  {
    forwarder: "splice",
    cannot: {},
  },
  {
    forwarder: "http-proxy",
    cannot: {
      "absolute-form": "the `Host` that came is kept",
      "unknown-methods": "Node answers 400 to a method that it does not know",
      "too-many-lines": "lines are not counted",
      "request-line": "Node's parser takes several spaces for one",
      "head-untouched": "Node writes lines of one name together, under the first one's spelling",
      "expect-end-to-end": "the 100 is the gateway's own, and comes when the container is connected",
      "expect-refused": "the 100 is sent before the container sees the head",
      "request-trailers": "Node's server and client frame bodies anew",
      "chunks-untouched": "Node frames the body anew",
      "early-hints": "the library does not pass them on",
      interim: "the library does not pass them on",
      "response-trailers": "the library does not pass them on",
      "until-close": "Node frames the body in chunks",
      "truncated-until-close": "Node's client takes a broken connection for the end of such a body",
      reused: "each request to a container gets a new connection, and so is never sent twice",
    },
  },
];
