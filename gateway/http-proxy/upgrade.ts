import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { MAX_HEAD_BYTES, type GatewayLimits } from "../limits.ts";
import type { UpgradeContainer, ContainerUpgradeRequest } from "../websockets/handshake.ts";
import { brokeOff, connectPlainly, type DialCounts, dialLease } from "../connections/dial.ts";
import { connectionOver, breakOff, type NetConnection } from "../connections/connection.ts";
import type { Forward, HeaderLine, Lease } from "../decision.ts";
import type { AccessRecord } from "../access-record.ts";
import type { Draining } from "../connections/closing.ts";
import { travelling, responseHeadOf } from "./node-heads.ts";
import { headText, sendRawResponse } from "../direct-responses.ts";
import { spliceWebSocket, type ByteCounts } from "../websockets/splice-websocket.ts";

type NodeUpgradeDeps = { clock: Clock; dials: DialCounts; limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs"> };

/** `head`: what the container said right behind its 101. Of a refusal, `received` is still to be read. */
export type NodeUpgradeResponse = { socket: Socket; connectMs: number; switched: boolean; received: IncomingMessage; head: Buffer };

/** `AskContainer` with Node's own client. */
export function createUpgradeContainer(parts: NodeUpgradeDeps): UpgradeContainer {
  return async (ask) => {
    const { socket, switched, received, head } = await requestUpgrade(parts, ask);
    return {
      status: received.statusCode ?? 0,
      reason: received.statusMessage ?? "",
      header: (name) => received.headers[name]?.toString(),
      switched,
      container: connectionOver(socket),
      rest: head,
    };
  };
}

/** The same, with the answer as Node has it, for whoever passes a refusal on. */
export async function requestUpgrade(
  { clock, limits, dials }: NodeUpgradeDeps,
  { lease, target, lines, headTimeoutMs, signal }: ContainerUpgradeRequest,
): Promise<NodeUpgradeResponse> {
  const { connection, connectMs } = await dialLease(lease, { clock, limits, signal, dials, connect: connectPlainly });
  const { socket } = connection;
  socket.on("error", () => undefined);
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      createConnection: () => socket,
      method: "GET",
      path: target,
      headers: lines.flat(),
      setHost: false,
      maxHeaderSize: MAX_HEAD_BYTES,
    });
    sent.maxHeadersCount = 0;
    const settle = (act: () => void) => {
      cancel();
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const fail = (error: Error) =>
      settle(() => {
        sent.destroy();
        socket.destroy();
        reject(error);
      });
    const cancel = clock.after(headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));
    const onAbort = () => fail(signal.reason as Error);
    sent.on("error", (cause) => fail(brokeOff(cause)));
    sent.once("response", (received) => settle(() => resolve({ socket, connectMs, switched: false, received, head: Buffer.alloc(0) })));
    sent.once("upgrade", (received, _, head) => settle(() => resolve({ socket, connectMs, switched: true, received, head })));
    signal.addEventListener("abort", onAbort, { once: true });
    sent.end();
    if (signal.aborted) onAbort();
  });
}

export type UpgradeExchange = {
  request: IncomingMessage;
  client: NetConnection;
  /** Reads the client until the container takes over. */
  early: EarlyBytes;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  draining: Draining;
  record: ByteCounts & Pick<AccessRecord, "status" | "fault">;
};

type UpgradeDeps = { clock: Clock; dials: DialCounts; limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs" | "lingeringCloseMs"> };

const SWITCH: readonly HeaderLine[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
];

/**
 * Passes an upgrade through: the container's own 101 or refusal, then bytes. Resolves when the exchange is over, and the lease
 * released; after a refusal the client's connection may still have to close.
 */
export async function transparentUpgrade(parts: UpgradeDeps, exchange: UpgradeExchange): Promise<void> {
  const { request, client, early, forward, lease, signal, draining, record } = exchange;
  const revoked = new AbortController();
  lease.setHolder?.({ revoke: (fault) => revoked.abort(fault) });
  try {
    const lines = [...travelling(request.rawHeaders, forward.request), ...SWITCH];
    const { received, ...answer } = await requestUpgrade(parts, {
      lease,
      target: forward.target,
      lines,
      headTimeoutMs: forward.headTimeoutMs,
      signal: AbortSignal.any([signal, revoked.signal]),
    });
    const { statusCode = 502, statusMessage = "", rawHeaders } = received;
    record.status = statusCode;
    const own = travelling(rawHeaders, forward.response(responseHeadOf(received), answer.connectMs));
    client.sendText(headText(statusCode, statusMessage, [...(answer.switched ? SWITCH : [["Connection", "close"] as const]), ...own]));
    if (!answer.switched) return await passRefusal(received, client.socket, lease);
    await spliceWebSocket({
      client,
      container: connectionOver(answer.socket),
      early: [early.take()],
      rest: answer.head,
      lease,
      draining,
      record,
      ...parts,
    });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Fault)) throw error;
    const answer = forward.respondTo(error);
    record.status = answer.status;
    record.fault = error.code;
    sendRawResponse(client.socket, answer);
  } finally {
    lease.release();
  }
}

/** The body ends with the connection where it has no length, so one that was cut off must not look like one that ended. */
function passRefusal(received: IncomingMessage, socket: Socket, lease: Lease): Promise<void> {
  return new Promise((resolve) => {
    received.on("data", (chunk: Buffer) => lease.countBytes(chunk.length, "container"));
    received.once("error", () => breakOff(socket));
    received.once("close", resolve);
    socket.once("close", () => received.destroy());
    received.pipe(socket);
  });
}

export type EarlyBytes = {
  /** What came so far; from here on the link is paused and the caller's. */
  take(): Buffer;
};

/**
 * Reads a link while nobody else does yet: only one that is read notices that its other end has left, and then it is closed.
 * Beyond `limit` bytes it is left alone, so that a client cannot fill the memory.
 */
export function readEarly(link: NetConnection, head: Buffer, limit: number): EarlyBytes {
  const kept = [head];
  let size = head.length;
  link.user = {
    onBytes: (chunk) => {
      kept.push(link.volatile ? Buffer.from(chunk) : chunk);
      size += chunk.length;
      if (size >= limit) link.pause();
    },
    onEnd: () => link.destroy(),
    onDrain: () => undefined,
    onClose: () => undefined,
  };
  link.resume();
  return {
    take: () => {
      link.pause();
      return Buffer.concat(kept);
    },
  };
}
