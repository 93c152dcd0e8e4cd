import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Forward, HeaderLine } from "../decision.ts";
import { askUpgrade, type UpgradeAnswer } from "../forward/ask-upgrade.ts";
import { travelling } from "../forward/header-lines.ts";
import { sendRawHead } from "../forward/send-answer.ts";

/** RFC 6455 §4.2.2: what proves that the other side speaks WebSocket. */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The first subprotocol that a client offers: the only one echoed and offered on. */
export function offeredProtocol(request: IncomingMessage): string | undefined {
  const first = request.headers["sec-websocket-protocol"]?.split(",")[0]?.trim();
  return first === "" ? undefined : first;
}

/** True where the head of a request is a complete WebSocket handshake. */
export function isHandshake(request: IncomingMessage): boolean {
  return request.headers["sec-websocket-version"] === "13" && /^[A-Za-z0-9+/]{22}==$/.test(request.headers["sec-websocket-key"] ?? "");
}

/** Accepts the client's upgrade; no extension is taken on, so that frames can be passed on as they are. */
export function acceptUpgrade(request: IncomingMessage, socket: Duplex): void {
  const protocol = offeredProtocol(request);
  sendRawHead(socket, 101, "Switching Protocols", [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", acceptFor(request.headers["sec-websocket-key"] ?? "")],
    ...(protocol === undefined ? [] : [["Sec-WebSocket-Protocol", protocol] as const]),
  ]);
}

export type Upgraded = { socket: Socket; head: Buffer };

/**
 * Asks the container, over a connection already made, for the WebSocket that the client asked us for. Whatever rejects, an
 * abort too, destroys the connection. Faults: CONTAINER_REFUSED_UPGRADE, WEBSOCKET_MISMATCH, CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT.
 */
export async function upgradeContainer(
  request: IncomingMessage,
  forward: Forward,
  upstream: Socket,
  clock: Clock,
  signal: AbortSignal,
): Promise<Upgraded> {
  const key = randomBytes(16).toString("base64");
  const protocol = offeredProtocol(request);
  const lines = handshakeLines(request, forward, key, protocol);
  const answer = await askUpgrade(upstream, { path: forward.target, lines, timeoutMs: forward.headTimeoutMs, clock, signal });
  const refusal = refusalIn(answer, key, protocol);
  if (refusal === undefined && answer.switched) return { socket: upstream, head: answer.head };
  upstream.destroy();
  throw refusal;
}

function refusalIn({ switched, received }: UpgradeAnswer, key: string, offered: string | undefined): Fault | undefined {
  const { statusCode, statusMessage, headers } = received;
  if (!switched) return new Fault("CONTAINER_REFUSED_UPGRADE", `The container answered ${statusCode} ${statusMessage} instead of a WebSocket`);
  if (headers["sec-websocket-accept"] !== acceptFor(key))
    return new Fault("CONTAINER_REFUSED_UPGRADE", "The container's handshake is not one of a WebSocket");
  const agreed = headers["sec-websocket-protocol"];
  if (headers["sec-websocket-extensions"] !== undefined || (agreed !== undefined && agreed !== offered))
    return new Fault("WEBSOCKET_MISMATCH", "The container agreed to a subprotocol or an extension that was not offered");
  return undefined;
}

function handshakeLines(request: IncomingMessage, forward: Forward, key: string, protocol: string | undefined): HeaderLine[] {
  const own = travelling(request.rawHeaders, forward.request).filter(([name]) => !name.toLowerCase().startsWith("sec-websocket-"));
  const lines: HeaderLine[] = [
    ...own,
    ["Connection", "Upgrade"],
    ["Upgrade", "websocket"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", key],
  ];
  return protocol === undefined ? lines : [...lines, ["Sec-WebSocket-Protocol", protocol]];
}

function acceptFor(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}
