import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../../clock.ts";
import { Fault } from "../../../fault.ts";
import type { Forward, HeaderLine, Lease } from "../../decision.ts";
import type { GatewayLimits } from "../../limits.ts";
import { askUpgrade } from "../ask-upgrade.ts";
import { dialLease } from "../dial.ts";
import type { EarlyBytes } from "./early-bytes.ts";
import { namesOf, travelling } from "../header-lines.ts";
import { linger } from "../linger.ts";
import { sendRawAnswer, sendRawHead } from "../send-answer.ts";

export type UpgradeExchange = {
  request: IncomingMessage;
  socket: Socket;
  /** Reads the client's socket until the container takes over. */
  early: EarlyBytes;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
};

type Parts = { clock: Clock; limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs" | "lingerMs"> };

const SWITCH: readonly HeaderLine[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
];

/**
 * Passes an upgrade through: the container's own 101 or refusal, then bytes. Resolves when the exchange is over, and the lease
 * released; after a refusal the client's socket may still have to close.
 */
export async function transparentUpgrade({ clock, limits }: Parts, exchange: UpgradeExchange): Promise<void> {
  const { request, socket, early, forward, lease, signal } = exchange;
  try {
    const { socket: upstream, connectMs } = await dialLease(lease, { clock, limits, signal });
    upstream.on("error", () => undefined);
    const lines = [...travelling(request.rawHeaders, forward.request), ...SWITCH];
    const answer = await askUpgrade(upstream, { path: forward.target, lines, timeoutMs: forward.headTimeoutMs, clock, signal });
    const { statusCode = 502, statusMessage = "", rawHeaders } = answer.received;
    const own = travelling(rawHeaders, forward.response({ connectMs, names: () => namesOf(rawHeaders) }));
    sendRawHead(socket, statusCode, statusMessage, [...(answer.switched ? SWITCH : [["Connection", "close"] as const]), ...own]);
    if (!answer.switched) return await passRefusal(answer.received, socket, lease);
    upstream.unshift(answer.head);
    socket.unshift(early.take());
    await passBytes(socket, upstream, lease, { clock, limits });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Fault)) throw error;
    sendRawAnswer(socket, forward.answerTo(error));
  } finally {
    lease.release();
  }
}

/** The body ends with the connection where it has no length, so one that was cut off must not look like one that ended. */
function passRefusal(received: IncomingMessage, socket: Socket, lease: Lease): Promise<void> {
  return new Promise((resolve) => {
    received.on("data", (chunk: Buffer) => lease.bytes(chunk.length));
    received.once("error", () => socket.resetAndDestroy());
    received.once("close", resolve);
    socket.once("close", () => received.destroy());
    received.pipe(socket);
  });
}

/** Resolves when both sides are closed. A WebSocket has no half-open state: once one side has ended, the other is to follow. */
async function passBytes(client: Duplex, container: Duplex, lease: Lease, { clock, limits }: Parts): Promise<void> {
  const pass = (from: Duplex, to: Duplex) => {
    from.on("data", (chunk: Buffer) => lease.bytes(chunk.length));
    from.pipe(to);
    for (const event of ["end", "close"]) from.once(event, () => linger(to, clock, limits.lingerMs));
    return new Promise<void>((resolve) => (from.closed ? resolve() : void from.once("close", resolve)));
  };
  await Promise.all([pass(client, container), pass(container, client)]);
}
