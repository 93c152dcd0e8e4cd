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

/** A package may be published here as well. */
const REQUEST_MS = 15 * 60_000;
const HEADERS_MS = 30_000;
const IDLE_MS = 75_000;
/** While control is replaced, new connections wait in the socket's queue; those that are answered may finish. */
const GRACE_MS = 2_000;
/** Some dozens of people with a browser each. */
const MOST_CONNECTIONS = 1_000;

/** The console's own listener: an origin that no container's page shares. Headers that only gateways may set are replaced. */
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
