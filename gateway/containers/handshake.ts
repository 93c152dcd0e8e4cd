import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Forward, HeaderLine } from "../decision.ts";
import { travelling } from "../forward/header-lines.ts";

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
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${acceptFor(request.headers["sec-websocket-key"] ?? "")}\r\n` +
      (protocol === undefined ? "" : `Sec-WebSocket-Protocol: ${protocol}\r\n`) +
      "\r\n",
  );
}

export type Upgraded = { socket: Socket; head: Buffer };

/**
 * Asks the container, over a connection already made, for the WebSocket that the client asked us for. Aborting destroys the
 * connection. Faults: CONTAINER_REFUSED_UPGRADE, CONTAINER_BROKE_OFF, RESPONSE_TIMED_OUT.
 */
export function upgradeContainer(request: IncomingMessage, forward: Forward, upstream: Socket, clock: Clock, signal: AbortSignal): Promise<Upgraded> {
  const key = randomBytes(16).toString("base64");
  const protocol = offeredProtocol(request);
  return new Promise((resolve, reject) => {
    const headers = handshakeLines(request, forward, key, protocol).flat();
    const sent = httpRequest({ createConnection: () => upstream, method: "GET", path: forward.target, headers, setHost: false });
    const cancel = clock.after(forward.headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));
    const onAbort = () => fail(signal.reason as Error);
    const settle = () => {
      cancel();
      signal.removeEventListener("abort", onAbort);
    };
    const fail = (error: Error) => {
      settle();
      sent.destroy();
      upstream.destroy();
      reject(error);
    };
    sent.on("error", (cause) => fail(new Fault("CONTAINER_BROKE_OFF", "The container broke the connection before it answered", { cause })));
    sent.once("response", ({ statusCode, statusMessage }) => {
      fail(new Fault("CONTAINER_REFUSED_UPGRADE", `The container answered ${statusCode} ${statusMessage} instead of a WebSocket`));
    });
    sent.once("upgrade", (answer, socket: Socket, head) => {
      if (answer.headers["sec-websocket-accept"] !== acceptFor(key)) {
        return fail(new Fault("CONTAINER_REFUSED_UPGRADE", "The container's handshake is not one of a WebSocket"));
      }
      const agreed = answer.headers["sec-websocket-protocol"];
      if (answer.headers["sec-websocket-extensions"] !== undefined || (agreed !== undefined && agreed !== protocol)) {
        return fail(new Fault("WEBSOCKET_MISMATCH", "The container agreed to a subprotocol or an extension that was not offered"));
      }
      settle();
      resolve({ socket, head });
    });
    signal.addEventListener("abort", onAbort, { once: true });
    sent.end();
    if (signal.aborted) onAbort();
  });
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
