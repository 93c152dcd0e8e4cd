import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { GATEWAY_TOKEN_HEADER } from "../../gateway/contract.ts";
import type { Log } from "../../lib/log.ts";
import type { GatewayTokens } from "../identity/gateway-tokens.ts";
import { type ControlListenerOptions, openControlListener } from "./control-listener.ts";
import type { FeedHandler } from "./feed.ts";

export type GatewayListenerDeps = Pick<ControlListenerOptions, "handle" | "tls" | "listeners"> & {
  tokens: Pick<GatewayTokens, "accepts">;
  /** Handle requests with a valid token. */
  feed: FeedHandler;
  api: RequestListener;
  clock: Clock;
  log: Log;
};

/** Enough for a package of hundreds of megabytes. */
const REQUEST_MS = 15 * 60_000;
/** Longer than gateways keep an idle connection. */
const IDLE_MS = 10_000;
/** Gateways open a few connections each. A client without a token costs a handshake and a head. */
const MOST_CONNECTIONS = 10_000;
const LOG_MS = 5_000;

/**
 * The listener for gateways on other machines: for the feed, and for their clients' requests to the API. Every request shows a token and names its purpose.
 * A request without a token receives one error, and its body is not read. The API still requires the clients' own credentials.
 */
export function openGatewayListener({
  handle,
  tls,
  listeners,
  tokens,
  feed,
  api,
  clock,
  log,
}: GatewayListenerDeps): Promise<{ close(): Promise<void> }> {
  let loggedAt: number | undefined;
  const purposeOf = (request: IncomingMessage): string | undefined => {
    const [, purpose, token = ""] = /^(feed|api) (\S+)$/.exec(String(request.headers[GATEWAY_TOKEN_HEADER] ?? "")) ?? [];
    // The token goes no further.
    delete request.headers[GATEWAY_TOKEN_HEADER];
    return tokens.accepts(token) ? purpose : undefined;
  };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    try {
      const purpose = purposeOf(request);
      if (purpose === "feed") return feed(request, response, "elsewhere");
      if (purpose === "api") return api(request, response);
      logRefusal(request);
      refuse(
        response,
        new Fault("GATEWAY_REFUSED", "The control plane refuses this gateway's token: `berth gateways token`, where it runs, prints the valid one."),
      );
    } catch (error) {
      log.error({ err: error }, "unexpected error");
      refuse(response, new Fault("INTERNAL", "An internal error occurred."));
    }
  };
  /** Requests without a token have no limit, so their log lines have one. */
  const logRefusal = ({ socket }: IncomingMessage) => {
    if (loggedAt !== undefined && clock.monotonic() - loggedAt < LOG_MS) return;
    loggedAt = clock.monotonic();
    log.warn({ from: socket.remoteAddress }, "gateway refused: no valid token");
  };
  return openControlListener({
    handle,
    tls,
    listeners,
    limits: { requestTimeout: REQUEST_MS, keepAliveTimeout: IDLE_MS, connections: MOST_CONNECTIONS },
    answer,
    clock,
    log,
  });
}

function refuse(response: ServerResponse, fault: Fault): void {
  // A fault for a gateway, and an API error for the client whose request it forwarded.
  const text = JSON.stringify({ "#type": "ApiError", ...fault.toJSON(), innerMessage: "" });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text), connection: "close" };
  response.writeHead(fault.status, headers).end(text);
}
