import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Forward, HeaderLine, Lease } from "../decision.ts";
import type { GatewayLimits } from "../limits.ts";
import type { Exchanged } from "../exchanges.ts";
import type { DialCounts } from "../connections/dial.ts";
import type { Draining } from "../connections/draining.ts";
import type { EarlyBytes } from "../connections/early-bytes.ts";
import { travelling } from "../connections/header-lines.ts";
import { breakOff, linkOver, type Link } from "../connections/link.ts";
import { headText, sendRawAnswer } from "../connections/send-answer.ts";
import { spliceUpgraded, type Told } from "../connections/upgraded.ts";
import { askUpgrade } from "./ask-upgrade.ts";
import { responseHeadOf } from "./request-head.ts";

export type UpgradeExchange = {
  request: IncomingMessage;
  client: Link;
  /** Reads the client until the container takes over. */
  early: EarlyBytes;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  draining: Draining;
  told: Told & Pick<Exchanged, "status" | "fault">;
};

type Parts = { clock: Clock; dials: DialCounts; limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs" | "lingerMs"> };

const SWITCH: readonly HeaderLine[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
];

/**
 * Passes an upgrade through: the container's own 101 or refusal, then bytes. Resolves when the exchange is over, and the lease
 * released; after a refusal the client's connection may still have to close.
 */
export async function transparentUpgrade(parts: Parts, exchange: UpgradeExchange): Promise<void> {
  const { request, client, early, forward, lease, signal, draining, told } = exchange;
  const revoked = new AbortController();
  lease.heldBy?.({ revoke: (fault) => revoked.abort(fault) });
  try {
    const lines = [...travelling(request.rawHeaders, forward.request), ...SWITCH];
    const { received, ...answer } = await askUpgrade(parts, {
      lease,
      target: forward.target,
      lines,
      headTimeoutMs: forward.headTimeoutMs,
      signal: AbortSignal.any([signal, revoked.signal]),
    });
    const { statusCode = 502, statusMessage = "", rawHeaders } = received;
    told.status = statusCode;
    const own = travelling(rawHeaders, forward.response(responseHeadOf(received), answer.connectMs));
    client.sendText(headText(statusCode, statusMessage, [...(answer.switched ? SWITCH : [["Connection", "close"] as const]), ...own]));
    if (!answer.switched) return await passRefusal(received, client.socket, lease);
    await spliceUpgraded({
      client,
      container: linkOver(answer.socket),
      early: [early.take()],
      rest: answer.head,
      lease,
      draining,
      told,
      ...parts,
    });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Fault)) throw error;
    const answer = forward.answerTo(error);
    told.status = answer.status;
    told.fault = error.code;
    sendRawAnswer(client.socket, answer);
  } finally {
    lease.release();
  }
}

/** The body ends with the connection where it has no length, so one that was cut off must not look like one that ended. */
function passRefusal(received: IncomingMessage, socket: Socket, lease: Lease): Promise<void> {
  return new Promise((resolve) => {
    received.on("data", (chunk: Buffer) => lease.bytes(chunk.length, "container"));
    received.once("error", () => breakOff(socket));
    received.once("close", resolve);
    socket.once("close", () => received.destroy());
    received.pipe(socket);
  });
}
