import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { UpgradeAsked } from "../connections/ask-upgrade.ts";
import type { Link } from "../connections/link.ts";
import { linger } from "../connections/linger.ts";
import { sendRawAnswer } from "../connections/send-answer.ts";
import { containerAnswer } from "./answers.ts";
import { closeReason } from "./close-codes.ts";
import { closeFrame } from "./frames.ts";
import { acceptUpgrade, isHandshake } from "./handshake.ts";

export type RefusedWebSocket = { asked: UpgradeAsked; client: Link; code: number; reason: string };

/**
 * Accepts a WebSocket only to close it with a code and a reason, which its client can show; what the client sends is read and thrown
 * away. Resolves when its connection is closed.
 */
export function refuseWebSocket(parts: { clock: Clock; limits: { lingerMs: number } }, refused: RefusedWebSocket): Promise<void> {
  const { asked, client, code, reason } = refused;
  const closed = new Promise<void>((resolve) => {
    client.user = { onBytes: () => undefined, onEnd: () => undefined, onDrain: () => undefined, onClose: () => resolve() };
    if (client.socket.closed) resolve();
  });
  if (isHandshake(asked)) {
    acceptUpgrade(asked, client);
    client.send(closeFrame(code, closeReason(reason)));
    client.flush();
  } else {
    client.flush();
    sendRawAnswer(client.socket, containerAnswer(notAHandshake()));
  }
  // The client's own close must be read.
  client.resume();
  linger(client.socket, parts.clock, parts.limits.lingerMs);
  return closed;
}

export function notAHandshake(): Fault {
  return new Fault("REQUEST_INVALID", "The head is not a WebSocket handshake of version 13");
}
