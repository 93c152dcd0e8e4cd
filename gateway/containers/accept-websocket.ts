import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "../../clock.ts";
import { Fault } from "../../fault.ts";
import type { Log } from "../../log.ts";
import type { Forward, Lease } from "../decision.ts";
import { dialLease } from "../forward/dial.ts";
import { linger } from "../forward/linger.ts";
import { sendRawAnswer } from "../forward/send-answer.ts";
import type { GatewayLimits } from "../limits.ts";
import { internalFault } from "./answers.ts";
import { CLOSE, closeFor } from "./close-codes.ts";
import { closeFrame, OPCODE, shortFrame, walkFrames, FrameError } from "./frames.ts";
import { acceptUpgrade, isHandshake, upgradeContainer, type Upgraded } from "./handshake.ts";
import { waitingClient, type WaitingClient } from "./waiting-client.ts";

export type WebSocketExchange = {
  request: IncomingMessage;
  socket: Duplex;
  head: Buffer;
  forward: Forward;
  lease: Lease;
  signal: AbortSignal;
  /** Aborts when this gateway is about to end: the client is told to come again elsewhere. */
  draining: AbortSignal;
};

export type AcceptParts = {
  clock: Clock;
  log: Log;
  limits: Pick<GatewayLimits, "connectTimeoutMs" | "probeAfterMs" | "wsPingMs" | "prebufferBytes" | "lingerMs">;
};

/**
 * The WebSocket of `proxy-ws`: accepted at once, held while the container wakes, told `CONNECTED` in a text frame before any
 * byte of the container's, then spliced: frames pass both ways as the bytes they are. Every failure after the accept is a close
 * with a code and a reason. Resolves when the client's socket is closed and the lease released.
 */
export async function acceptWebSocket(parts: AcceptParts, exchange: WebSocketExchange): Promise<void> {
  const { clock, log, limits } = parts;
  const { request, socket, head, forward, lease, signal: gone, draining } = exchange;
  if (!isHandshake(request)) {
    sendRawAnswer(socket, forward.answerTo(new Fault("REQUEST_INVALID", "The head is not a WebSocket handshake of version 13")));
    return lease.release();
  }
  acceptUpgrade(request, socket);
  const left = new AbortController();
  const signal = AbortSignal.any([gone, left.signal]);
  const closed = new Promise<void>((resolve) => (socket.destroyed ? resolve() : void socket.once("close", resolve)));
  const client = waitingClient(socket, {
    clock,
    pingMs: limits.wsPingMs,
    limit: limits.prebufferBytes,
    onLeave: () => left.abort(new Error("the client left")),
  });
  socket.on("data", (chunk: Buffer) => {
    lease.bytes(chunk.length);
    client.push(chunk);
  });
  // Whoever read it before has paused it.
  socket.resume();
  const close = (code: number, reason: string) => {
    if (!socket.writableEnded) socket.end(closeFrame(code, reason));
  };
  const drain = () => {
    close(CLOSE.goingAway, "The gateway restarts");
    left.abort(new Error("the gateway restarts"));
  };
  draining.addEventListener("abort", drain, { once: true });
  socket.once("end", () => left.abort(new Error("the client left")));
  if (head.length > 0) client.push(head);

  try {
    const { socket: upstream } = await dialLease(lease, { clock, limits, signal });
    const container = await upgradeContainer(request, forward, upstream, clock, signal);
    draining.removeEventListener("abort", drain);
    splice(socket, client, container, exchange, parts);
  } catch (error) {
    if (!signal.aborted) {
      const { code, reason } = closeFor(error instanceof Fault ? error : internalFault(error));
      if (!(error instanceof Fault)) log.error({ err: error }, "A WebSocket could not be connected");
      close(code, reason);
    }
    linger(socket, clock, limits.lingerMs);
  }
  socket.resume();
  await closed;
  draining.removeEventListener("abort", drain);
  lease.release();
}

/** Says `CONNECTED`, then passes both directions on until both are closed. */
function splice(
  socket: Duplex,
  client: WaitingClient,
  { socket: container, head }: Upgraded,
  { lease, draining }: WebSocketExchange,
  { clock, limits }: AcceptParts,
): void {
  // Our own frames may go in between two of the container's only, and none after a close.
  let closing = false;
  let broken = false;
  const walker = walkFrames(false, { ended: ({ opcode }) => void (closing ||= opcode === OPCODE.close) });

  const toClient = (chunk: Buffer) => {
    lease.bytes(chunk.length);
    if (socket.writableEnded) return;
    try {
      if (!broken) walker.push(chunk);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      // The client is the judge of it: it gets the bytes as they are, and no frame of ours any more.
      broken = true;
    }
    if (!socket.write(chunk)) container.pause();
  };
  const endClient = (code: number, reason: string) => {
    if (socket.writableEnded) return;
    const allowed = !closing && !broken && walker.atBoundary();
    if (allowed) socket.end(closeFrame(code, reason));
    // The client's answer to the close still reaches the container.
    linger(socket, clock, limits.lingerMs);
  };
  const drain = () => endClient(CLOSE.goingAway, "The gateway restarts");

  socket.write(shortFrame(OPCODE.text, "CONNECTED"));
  if (head.length > 0) toClient(head);
  container.on("data", toClient);
  container.on("drain", () => client.resume());
  socket.on("drain", () => container.resume());
  client.passTo((bytes) => container.writable && container.write(bytes));

  container.on("error", () => undefined);
  // A WebSocket has no half-open state: who ends without a close has gone.
  for (const event of ["end", "close"]) {
    container.once(event, () => endClient(CLOSE.failed, "The container broke the connection"));
    socket.once(event, () => linger(container, clock, limits.lingerMs));
  }
  container.once("close", () => draining.removeEventListener("abort", drain));
  draining.addEventListener("abort", drain, { once: true });
  if (draining.aborted) drain();
}
