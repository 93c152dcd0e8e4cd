import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { MAX_HEAD_BYTES, type GatewayLimits } from "../limits.ts";
import type { UpgradeContainer, ContainerUpgradeRequest } from "../websockets/handshake.ts";
import { brokeOff, type DialCounts, dialLease } from "../connections/dial.ts";
import type { NetConnection } from "../connections/connection.ts";
import type { ConnectionFactory } from "../connections/open-connections.ts";
import type { Forward, HeaderLine, Lease } from "../decision.ts";
import type { AccessRecord } from "../access-record.ts";
import type { Draining } from "../connections/closing.ts";
import { forwardedLines, responseHeadOf } from "./node-heads.ts";
import { headText, sendRawResponse } from "../direct-responses.ts";
import { spliceWebSocket, type ByteCounts } from "../websockets/splice-websocket.ts";

type NodeUpgradeDeps = {
  clock: Clock;
  dials: DialCounts;
  connections: ConnectionFactory;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs">;
};

/** `head`: bytes after the 101. `received`: of a refusal, its body is not read yet. */
type NodeUpgradeResponse = { socket: Socket; connectMs: number; switched: boolean; received: IncomingMessage; head: Buffer };

/** `UpgradeContainer` with Node's HTTP client. */
export function createUpgradeContainer(deps: NodeUpgradeDeps): UpgradeContainer {
  return async (request) => {
    const { socket, switched, received, head } = await requestUpgrade(deps, request);
    return {
      status: received.statusCode ?? 0,
      reason: received.statusMessage ?? "",
      header: (name) => received.headers[name]?.toString(),
      switched,
      container: deps.connections.adoptStream(socket),
      rest: head,
    };
  };
}

async function requestUpgrade(
  { clock, limits, dials }: Omit<NodeUpgradeDeps, "connections">,
  { lease, target, lines, headTimeoutMs, signal }: ContainerUpgradeRequest,
): Promise<NodeUpgradeResponse> {
  const { socket, connectMs } = await dialLease(lease, { clock, limits, signal, dials });
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
    const cancel = clock.after(headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time")));
    const onAbort = () => fail(signal.reason as Error);
    // Dialled sockets are paused; from here on Node's parser listens.
    sent.once("socket", () => socket.resume());
    sent.on("error", (cause) => fail(brokeOff(cause)));
    sent.once("response", (received) => settle(() => resolve({ socket, connectMs, switched: false, received, head: Buffer.alloc(0) })));
    sent.once("upgrade", (received, _, head) => settle(() => resolve({ socket, connectMs, switched: true, received, head })));
    signal.addEventListener("abort", onAbort, { once: true });
    sent.end();
    if (signal.aborted) onAbort();
  });
}

type UpgradeExchange = {
  request: IncomingMessage;
  client: NetConnection;
  /** Reads the client until the container is connected. */
  early: EarlyBytes;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  draining: Draining;
  record: ByteCounts & Pick<AccessRecord, "status" | "fault">;
};

type UpgradeDeps = NodeUpgradeDeps & { limits: Pick<GatewayLimits, "lingeringCloseMs"> };

const SWITCH: readonly HeaderLine[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
];

/** Forwards the container's 101 or refusal, then bytes. Resolves when the exchange is over, and the lease released; a refused client may still be closing. */
export async function transparentUpgrade(deps: UpgradeDeps, exchange: UpgradeExchange): Promise<void> {
  const { request, client, early, forward, lease, signal, draining, record } = exchange;
  const revoked = new AbortController();
  lease.setHolder?.({ revoke: (fault) => revoked.abort(fault) });
  try {
    const lines = [...forwardedLines(request.rawHeaders, forward.request), ...SWITCH];
    const { received, ...answer } = await requestUpgrade(deps, {
      lease,
      target: forward.target,
      lines,
      headTimeoutMs: forward.headTimeoutMs,
      signal: AbortSignal.any([signal, revoked.signal]),
    });
    const { statusCode = 502, statusMessage = "", rawHeaders } = received;
    record.status = statusCode;
    const own = forwardedLines(rawHeaders, forward.response(responseHeadOf(received), answer.connectMs));
    client.sendText(headText(statusCode, statusMessage, [...(answer.switched ? SWITCH : [["Connection", "close"] as const]), ...own]));
    if (!answer.switched) return await forwardRefusal(received, client, lease);
    await spliceWebSocket({
      client,
      container: deps.connections.adoptStream(answer.socket),
      early: [early.take()],
      rest: answer.head,
      lease,
      draining,
      record,
      ...deps,
    });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Fault)) throw error;
    const answer = forward.respondTo(error);
    record.status = answer.status;
    record.fault = error.code;
    sendRawResponse(client, answer);
  } finally {
    lease.release();
  }
}

/** Resets the connection after an incomplete body, which may end with the connection. */
function forwardRefusal(received: IncomingMessage, client: NetConnection, lease: Lease): Promise<void> {
  return new Promise((resolve) => {
    client.user = {
      onBytes: () => undefined,
      onEnd: () => undefined,
      onDrain: () => void received.resume(),
      onClose: () => void received.destroy(),
    };
    received.on("data", (chunk: Buffer) => {
      lease.countBytes(chunk.length, "container");
      if (!client.sendOwn(chunk)) received.pause();
    });
    received.once("end", () => client.end());
    received.once("error", () => client.reset());
    received.once("close", resolve);
  });
}

type EarlyBytes = {
  /** The received bytes. Pauses the connection, which is then the caller's. */
  take(): Buffer;
};

/** Reads a connection without a user, because only reading detects that the client has left. Pauses it at `limit` bytes. */
export function readEarly(connection: NetConnection, head: Buffer, limit: number): EarlyBytes {
  const kept = [head];
  let size = head.length;
  connection.user = {
    onBytes: (memory, at, end) => {
      kept.push(Buffer.from(memory.subarray(at, end)));
      size += end - at;
      if (size >= limit) connection.pause();
    },
    onEnd: () => connection.destroy(),
    onDrain: () => undefined,
    onClose: () => undefined,
  };
  connection.resume();
  return {
    take: () => {
      connection.pause();
      return Buffer.concat(kept);
    },
  };
}
