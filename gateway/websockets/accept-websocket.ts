import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { AccessRecord } from "../access-record.ts";
import type { DirectResponse, Forward, Lease } from "../decision.ts";
import { type UpgradeContainer, type UpgradeRequestHead, acceptUpgrade, isHandshake, upgradeContainer } from "./handshake.ts";
import { type Draining, lingeringClose } from "../connections/closing.ts";
import type { NetConnection } from "../connections/connection.ts";
import { sendRawResponse, internalFault, containerErrorResponse } from "../direct-responses.ts";
import { spliceWebSocket, type UpgradedPair } from "./splice-websocket.ts";
import type { GatewayLimits } from "../limits.ts";
import { CLOSE, closeFor, OPCODE, shortFrame, closeReason, closeFrame } from "./frames.ts";
import { type QueueBudget, WaitingClient } from "./waiting-client.ts";

/** The part of the access record that a WebSocket writes. */
type WebSocketRecord = Pick<AccessRecord, "countBytes" | "answered" | "failed">;

type WebSocketExchange = {
  request: UpgradeRequestHead;
  /** Paused, without a user. */
  client: NetConnection;
  /** Bytes after the handshake. */
  early: Buffer;
  forward: Forward;
  lease: Lease;
  /** Whose queue budget its frames use while it waits. */
  user: string;
  /** When it begins, the client gets close code 1012. */
  draining: Draining;
  record: WebSocketRecord;
};

type AcceptWebSocketDeps = {
  upgrade: UpgradeContainer;
  queues: QueueBudget;
  clock: Clock;
  log: Log;
  limits: Pick<GatewayLimits, "wsPingMs" | "prebufferBytes" | "lingeringCloseMs">;
};

/**
 * A WebSocket of `proxy-ws`: accepted at once, held while the container starts. It gets `CONNECTED` in a text frame before any byte of the container,
 * then frames pass unchanged. Every failure after the accept is a close with a code and a reason. Resolves when the client's connection is closed and the
 * lease released.
 */
export function acceptWebSocket(deps: AcceptWebSocketDeps, exchange: WebSocketExchange): Promise<void> {
  // In steps, so that each releases what only the previous one needed: there may be many silent WebSockets.
  return releasing(exchange.lease, connectWaiting(deps, exchange).then(spliceConnected));
}

function releasing(lease: Lease, over: Promise<void>): Promise<void> {
  return over.finally(() => lease.release());
}

function spliceConnected(upgraded: UpgradedPair | undefined): Promise<void> | undefined {
  return upgraded === undefined ? undefined : spliceWebSocket(upgraded);
}

/** Undefined: it failed, and the client has left. */
async function connectWaiting(
  { upgrade, queues, clock, log, limits }: AcceptWebSocketDeps,
  exchange: WebSocketExchange,
): Promise<UpgradedPair | undefined> {
  const { request, client, forward, lease, user, draining, record } = exchange;
  if (!isHandshake(request)) {
    const answer = withVersion(forward.respondTo(handshakeFault()));
    record.answered(answer.status);
    sendRawResponse(client, answer);
    return undefined;
  }
  acceptUpgrade(request, client);
  const left = new AbortController();
  const { signal } = left;
  const waiting = new WaitingClient(client, {
    clock,
    lease,
    pingMs: limits.wsPingMs,
    limit: limits.prebufferBytes,
    budget: queues,
    user,
    onLeave: () => left.abort(new Error("the client left")),
  });
  lease.setHolder?.({
    revoke: (fault) => {
      const { code, reason } = closeFor(fault);
      waiting.close(code, reason);
    },
  });
  const drain = () => waiting.close(CLOSE.serviceRestart, "The gateway restarts");
  draining.add(drain);
  if (exchange.early.length > 0) waiting.onBytes(exchange.early, 0, exchange.early.length);
  if (draining.begun) drain();

  try {
    const { container, rest } = await upgradeContainer({ request, forward, lease, upgrade, signal });
    if (signal.aborted) {
      container.destroy();
      throw signal.reason;
    }
    client.sendOwn(shortFrame(OPCODE.text, "CONNECTED"));
    return { client, container, rest, ...waiting.handOver(), lease, draining, clock, limits, record };
  } catch (error) {
    if (!signal.aborted) {
      const fault = error instanceof Fault ? error : internalFault(error);
      record.failed(fault.code);
      const { code, reason } = closeFor(fault);
      if (!(error instanceof Fault)) log.error({ err: error }, "WebSocket not connected: internal error");
      waiting.close(code, reason);
    }
    // The close may take a minute, and others may wait for the place.
    lease.release();
    lingeringClose(client, clock, limits.lingeringCloseMs);
    client.resume();
    await closing(client);
    return undefined;
  } finally {
    draining.delete(drain);
  }
}

function closing(connection: NetConnection): Promise<void> {
  return new Promise((resolve) => (connection.closed ? resolve() : connection.onceClosed(resolve)));
}

type RefusedWebSocket = { request: UpgradeRequestHead; client: NetConnection; code: number; reason: string };

/** Accepts a WebSocket and closes it with a code and a reason, which its client can show. Resolves when the connection is closed. */
export function refuseWebSocket({ clock, limits }: { clock: Clock; limits: { lingeringCloseMs: number } }, refused: RefusedWebSocket): Promise<void> {
  const { request, client, code, reason } = refused;
  const closed = new Promise<void>((resolve) => {
    client.user = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => resolve() };
    if (client.closed) resolve();
  });
  if (isHandshake(request)) {
    acceptUpgrade(request, client);
    client.sendOwn(closeFrame(code, closeReason(reason)));
  } else sendRawResponse(client, withVersion(containerErrorResponse(handshakeFault())));
  // The client's close must be read.
  client.resume();
  lingeringClose(client, clock, limits.lingeringCloseMs);
  return closed;
}

function handshakeFault(): Fault {
  return new Fault("REQUEST_INVALID", "The head is not a WebSocket handshake of version 13");
}

/** A client of another version may try this one (RFC 6455 §4.4). */
function withVersion(answer: DirectResponse): DirectResponse {
  return { ...answer, headers: [...answer.headers, ["Sec-WebSocket-Version", "13"]] };
}
