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
  /** What those are let in to who show a token. */
  feed: FeedHandler;
  api: RequestListener;
  clock: Clock;
  log: Log;
};

/** A package of hundreds of megabytes may come through here. */
const REQUEST_MS = 15 * 60_000;
/** Longer than gateways keep a connection that they do not use. */
const IDLE_MS = 10_000;
/** Gateways open a few connections each. Who has no token costs a handshake and a head, and not more of them than this at a time. */
const MOST_CONNECTIONS = 10_000;
const REMARK_MS = 5_000;

/**
 * Where gateways on other machines come in, to the feed and with their clients' requests to the API: every request shows a token and says which of the
 * two it is for. Who shows none gets one sentence, and nothing of what it sent is read. The API asks clients for their own credentials all the same.
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
  let remarkedAt: number | undefined;
  const admitted = (request: IncomingMessage): string | undefined => {
    const [, purpose, token = ""] = /^(feed|api) (\S+)$/.exec(String(request.headers[GATEWAY_TOKEN_HEADER] ?? "")) ?? [];
    // It goes no further than this.
    delete request.headers[GATEWAY_TOKEN_HEADER];
    return tokens.accepts(token) ? purpose : undefined;
  };
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    try {
      const purpose = admitted(request);
      if (purpose === "feed") return feed(request, response, "elsewhere");
      if (purpose === "api") return api(request, response);
      remark(request);
      refuse(
        response,
        new Fault("GATEWAY_REFUSED", "The control plane refuses this gateway's token: `berth gateways token`, where it runs, prints the valid one."),
      );
    } catch (error) {
      log.error({ err: error }, "a gateway's token could not be looked at");
      refuse(response, new Fault("INTERNAL", "An internal error occurred."));
    }
  };
  /** Strangers may come as often as they like. */
  const remark = ({ socket }: IncomingMessage) => {
    if (remarkedAt !== undefined && clock.monotonic() - remarkedAt < REMARK_MS) return;
    remarkedAt = clock.monotonic();
    log.warn({ from: socket.remoteAddress }, "a gateway without a valid token was refused");
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
  // A fault for a gateway, and an error of the API for the client whose request it passed on.
  const text = JSON.stringify({ "#type": "ApiError", ...fault.toJSON(), innerMessage: "" });
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text), connection: "close" };
  response.writeHead(fault.status, headers).end(text);
}
