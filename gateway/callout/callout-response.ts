import { isIP } from "node:net";
import type { ContainerAddress } from "../contract.ts";
import type { DirectResponse, Head, HeaderEdits, HeaderLine } from "../decision.ts";
import type { CalloutStyle } from "./original-request.ts";

/**
 * Every request header (lower case) that a decision may edit, and the response header in which a proxy finds its new value. Without that line the container
 * gets no such header.
 */
export const EDITED_HEADERS = {
  authorization: "X-Berth-Authorization",
  cookie: "X-Berth-Cookie",
  "x-user-api-key": "X-Berth-User-Api-Key",
  "x-forwarded-for": "X-Berth-Forwarded-For",
  "x-forwarded-proto": "X-Berth-Forwarded-Proto",
  "x-forwarded-host": "X-Berth-Forwarded-Host",
  "x-real-ip": "X-Berth-Real-Ip",
  forwarded: "X-Berth-Forwarded",
  traceparent: "X-Berth-Traceparent",
  tracestate: "X-Berth-Tracestate",
  "x-request-id": "X-Berth-Request-Id",
} as const;

/** By this header, Envoy's routes send a request to the edge: what Envoy is refused, it can only respond with itself. */
export const EDGE_HEADER = "x-berth-edge";

/** Request headers (lower case) that only berth and its proxies write: no container gets a client's. */
export const BERTH_HEADERS: readonly string[] = [
  "x-berth-callout-secret",
  "x-berth-proxy",
  "x-berth-status",
  "x-berth-upstream",
  "x-berth-path",
  "x-berth-container",
  "x-berth-lease",
  "x-berth-vary",
  EDGE_HEADER,
  ...Object.values(EDITED_HEADERS).map((name) => name.toLowerCase()),
];

/** `lease`: a line of the proxy's access log with it ends the use. `varies`: names of headers that this decision depends on beside those of a usual one. */
export type AllowedRequest = {
  id: string;
  address: ContainerAddress;
  path: string;
  head: Head;
  edits: HeaderEdits;
  lease: string | undefined;
  varies: readonly string[];
};

/** Where Envoy's clusters of the type ORIGINAL_DST find the address of a request. */
export const ENVOY_UPSTREAM_HEADER = "x-envoy-original-dst-host";

/** The proxy sends the request to the container's address, with these headers. */
export function allowResponse(style: CalloutStyle, { id, address, path, head, edits, lease, varies }: AllowedRequest): DirectResponse {
  const upstream = upstreamOf(address);
  const headers: HeaderLine[] = [
    ["X-Berth-Status", "200"],
    ["X-Berth-Upstream", upstream],
    ["X-Berth-Path", path],
    ["X-Berth-Container", id],
  ];
  if (lease !== undefined) headers.push(["X-Berth-Lease", lease]);
  if (varies.length > 0) headers.push(["X-Berth-Vary", varies.join(", ")]);
  const removed: string[] = [];
  for (const [name, carrier] of Object.entries(EDITED_HEADERS)) {
    const value = editedValue(name, head, edits);
    // Of an empty line Envoy keeps the client's own header.
    if (value === undefined || value === "") removed.push(name);
    else headers.push([style === "envoy" ? name : carrier, value]);
  }
  if (style === "envoy") headers.push([ENVOY_UPSTREAM_HEADER, upstream], ["x-envoy-auth-headers-to-remove", removed.join(",")]);
  headers.push(["Content-Length", "0"], ["Cache-Control", "no-store"]);
  return { status: 200, reason: "OK", headers, body: "" };
}

/** As proxies read an address. */
export function upstreamOf({ host, port }: ContainerAddress): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What the container gets as this header; undefined: none. */
export function editedValue(name: string, head: Head, { remove, add, written = [] }: HeaderEdits): string | undefined {
  const added = [...add, ...written.flatMap((lines) => lines.lines())].findLast(([own]) => own.toLowerCase() === name);
  if (added !== undefined) return added[1];
  return remove.includes(name) ? undefined : head.header(name);
}

/** nginx logs an error for every other status. */
const STATUSES_OF_NGINX: ReadonlySet<number> = new Set([401, 403]);

const TO_EDGE: DirectResponse = {
  status: 200,
  reason: "OK",
  headers: [
    ["X-Berth-Status", "421"],
    [EDGE_HEADER, "1"],
    ["x-envoy-auth-headers-to-remove", ENVOY_UPSTREAM_HEADER],
    ["Content-Length", "0"],
    ["Cache-Control", "no-store"],
  ],
  body: "",
};

/** The proxy responds with this itself. Its status is never 2xx, which would permit the request, but for the edge's requests at Envoy. */
export function refuseResponse(style: CalloutStyle, answer: DirectResponse): DirectResponse {
  const refused = answer.status >= 200 && answer.status < 300 ? AT_EDGE : answer;
  if (style === "envoy" && refused === AT_EDGE) return TO_EDGE;
  const headers: HeaderLine[] = [...refused.headers, ["X-Berth-Status", String(refused.status)]];
  if (style !== "nginx" || STATUSES_OF_NGINX.has(refused.status)) return { ...refused, headers };
  return { ...refused, headers, status: 403, reason: "Forbidden" };
}

const AT_EDGE_BODY = JSON.stringify({ "datagrok-error": "berth's edge answers this request itself: configure the proxy to send it there" });

/** The edge itself has to answer this request, or to forward it: the proxy sends it there. */
export const AT_EDGE: DirectResponse = {
  status: 421,
  reason: "Misdirected Request",
  headers: [
    ["Content-Type", "application/json"],
    ["Content-Length", String(Buffer.byteLength(AT_EDGE_BODY))],
    ["Cache-Control", "no-store"],
  ],
  body: AT_EDGE_BODY,
};
