import type { IncomingMessage, RequestListener } from "node:http";
import { CLIENT_ADDRESS_HEADER, CONSOLE_HEADER, GATEWAY_TOKEN_HEADER, UNTRUSTED_PROXY_HEADER } from "../../gateway/contract.ts";
import { type ControlListenerOptions, openControlListener } from "../api/control-listener.ts";

export type ConsoleListenerDeps = Pick<ControlListenerOptions, "handle" | "tls" | "clock" | "log"> & {
  /** The API, which serves the console to what comes in here. */
  answer: RequestListener;
  /** The client's own address, where a load balancer in front may say it. */
  addressOf(request: IncomingMessage): string;
  /** Whether this peer is trusted to describe the browser's connection. */
  trusts(peer: string): boolean;
};

/** Packages may be published here too. */
const REQUEST_MS = 15 * 60_000;
const HEADERS_MS = 30_000;
const IDLE_MS = 75_000;
/** While control restarts, new connections wait in the queue of the socket; requests in progress may finish. */
const GRACE_MS = 2_000;
/** Enough for some dozens of users. */
const MOST_CONNECTIONS = 1_000;

/** The console's own listener: an origin that no container's page shares. It replaces headers that only gateways may set. */
export function openConsoleListener({
  handle,
  tls,
  answer,
  addressOf,
  trusts,
  clock,
  log,
}: ConsoleListenerDeps): Promise<{ close(): Promise<void> }> {
  return openControlListener({
    handle,
    tls,
    clock,
    log,
    graceMs: GRACE_MS,
    limits: { requestTimeout: REQUEST_MS, headersTimeout: HEADERS_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer: (request, response) => {
      const { headers } = request;
      const peer = request.socket.remoteAddress ?? "";
      if (!trusts(peer) || headers["x-forwarded-proto"] === undefined) headers["x-forwarded-proto"] = tls === undefined ? "http" : "https";
      headers[CLIENT_ADDRESS_HEADER] = addressOf(request);
      headers[CONSOLE_HEADER] = "1";
      delete headers[GATEWAY_TOKEN_HEADER];
      delete headers[UNTRUSTED_PROXY_HEADER];
      answer(request, response);
    },
  });
}
