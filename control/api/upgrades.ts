import { type IncomingMessage, type RequestListener, type Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** The only route that accepts an upgrade. */
const SHELL_PATH = /^\/api\/docker\/containers\/[^/?]+\/exec(?:\?|$)/;

/** Whether a request upgrades to a WebSocket of the API. For `shouldUpgradeCallback` of a server that ignores every other upgrade. */
export function isApiUpgrade({ url = "", headers }: IncomingMessage): boolean {
  return SHELL_PATH.test(url) && headers.upgrade?.toLowerCase() === "websocket";
}

/** What a handler needs to accept the upgrade. `head`: bytes that came behind the request. */
export type PendingUpgrade = { socket: Duplex; head: Buffer };

const pending = new WeakMap<IncomingMessage, PendingUpgrade>();
const upgraded = new WeakSet<ServerResponse>();

/**
 * Hands upgrades of the API to `answer` as requests like any other: so the same hooks authorize them, and a refusal is a usual response. A handler accepts one
 * with `takeUpgrade`. Any other upgrade is refused.
 */
export function answerUpgrades(server: Server, answer: RequestListener): void {
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    // Node no longer listens to it.
    socket.on("error", () => socket.destroy());
    if (!isApiUpgrade(request)) return void socket.destroy();
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once("finish", () => socket.end());
    pending.set(request, { socket, head });
    answer(request, response);
  });
}

/** Undefined if the request does not upgrade, or its upgrade was taken already. */
export function takeUpgrade(request: IncomingMessage, response: ServerResponse): PendingUpgrade | undefined {
  const upgrade = pending.get(request);
  if (upgrade) upgraded.add(response);
  pending.delete(request);
  return upgrade;
}

export function isUpgraded(response: ServerResponse): boolean {
  return upgraded.has(response);
}
