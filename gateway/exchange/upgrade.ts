import { Fault } from "../../lib/fault.ts";
import { acceptWebSocket, refuseWebSocket } from "../websockets/accept-websocket.ts";
import type { Decision, InterceptingForward } from "../decision.ts";
import { type ResponseHead, MessageRefused } from "../http1/message-reader.ts";
import { spliceWebSocket } from "../websockets/splice-websocket.ts";
import type { ForwardedExchange, EngineContext } from "./engine-context.ts";
import { writeLines, writeTarget } from "../http1/header-lines.ts";
import type { UpgradeContainer, ContainerUpgradeResponse, ContainerUpgradeRequest } from "../websockets/handshake.ts";
import { brokeOff, dialLease } from "../connections/dial.ts";
import type { NetConnection } from "../connections/connection.ts";

/** What an upgrade travels with: of the hop-by-hop lines, these are said anew. */
export const SWITCH_LINES = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/** Becomes a WebSocket at once, and then reaches for the container. */
export function acceptUpgrade(
  exchange: ForwardedExchange,
  { forward, lease, user }: Extract<Decision<InterceptingForward>, { kind: "acceptWebSocket" }>,
): void {
  const { client, head, record } = exchange;
  const { context: parts, connection: link } = client;
  record.becameWebSocket();
  exchange.handOver();
  const early = client.handOver();
  const { draining } = parts;
  const accepted = acceptWebSocket(
    { ...parts, upgrade: createUpgradeContainer(parts) },
    { request: head, client: link, early, forward, lease, user, draining, record },
  );
  parts.keepUpgraded(link, accepted, record);
}

/** Becomes a WebSocket only to be closed with a code and a reason. */
export function refuseUpgrade(exchange: ForwardedExchange, { code, reason }: Extract<Decision, { kind: "refuseWebSocket" }>): void {
  const { client, head, record } = exchange;
  record.becameWebSocket();
  exchange.handOver();
  client.handOver();
  const { connection: link, context: parts } = client;
  parts.keepUpgraded(link, refuseWebSocket(parts, { request: head, client: link, code, reason }), record);
}

/** The container answered 101: the very connection becomes what was asked for. */
export function switchProtocols(exchange: ForwardedExchange, head: ResponseHead, rest: Buffer): void {
  const { client, forward, lease, container, record } = exchange;
  if (container === undefined || forward === undefined || lease === undefined) return;
  if (!exchange.head.websocket || head.upgrade !== "websocket")
    return exchange.fail(new Fault("CONTAINER_BROKE_OFF", "The container switched to another protocol, which nobody had asked for"));
  const { context: parts, connection: link } = client;
  const edits = forward.response(head, container.connectMs);
  link.sendText(head.write(edits, SWITCH_LINES) ?? head.text);
  record.responseStarted(101);
  record.becameWebSocket();
  exchange.handOver();
  container.reader.close();
  // It may have been kept before; it never comes back.
  parts.pool.forget(container);
  container.connection.pause();
  const early = client.handOver();
  const spliced = spliceWebSocket({
    ...parts,
    client: link,
    container: container.connection,
    early: early.length > 0 ? [early] : [],
    rest,
    lease,
    record,
  });
  parts.keepUpgraded(
    link,
    spliced.finally(() => lease.release()),
    record,
  );
}

type Parts = Pick<EngineContext, "clock" | "limits" | "http1" | "connections" | "dials">;

/** Asks a container for a WebSocket, over a connection of its own. */
export function createUpgradeContainer(parts: Parts): UpgradeContainer {
  return async (ask) => {
    // As any other head: what cannot be written must not become another line.
    const text = `GET ${writeTarget(ask.target)} HTTP/1.1\r\n${writeLines(ask.lines)}\r\n`;
    const { connection } = await dialLease(ask.lease, { ...parts, signal: ask.signal, connect: parts.connections.connect });
    return new Promise((resolve, reject) => awaitUpgrade(parts, connection, { ...ask, text }, resolve, reject));
  };
}

function awaitUpgrade(
  parts: Parts,
  link: NetConnection,
  ask: ContainerUpgradeRequest & { text: string },
  resolve: (answer: ContainerUpgradeResponse) => void,
  reject: (error: unknown) => void,
): void {
  const { signal } = ask;
  const reader = parts.http1.responses();
  const settle = () => {
    cancel();
    reader.close();
    signal.removeEventListener("abort", onAbort);
  };
  const fail = (error: unknown) => {
    settle();
    link.destroy();
    reject(error);
  };
  const onAbort = () => fail(signal.reason);
  const cancel = parts.clock.after(ask.headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not answer in time")));

  const take = (chunk: Buffer, from: number): void => {
    const at = reader.readHead(chunk, from);
    if (at === -1) return;
    const { head } = reader;
    // Interim responses come before the one that counts.
    if (head.status < 200 && head.status !== 101) return take(chunk, at);
    link.pause();
    settle();
    resolve(upgradeResponse(head, link, Buffer.from(chunk.subarray(at))));
  };

  link.user = {
    onBytes: (chunk) => {
      try {
        take(chunk, 0);
      } catch (error) {
        const unfit =
          error instanceof MessageRefused ? new Fault("CONTAINER_BROKE_OFF", `The container's response is not HTTP: ${error.message}`) : error;
        fail(unfit);
      }
    },
    onDrain: () => undefined,
    onEnd: () => fail(brokeOff(undefined)),
    onClose: (error) => fail(brokeOff(error)),
  };
  signal.addEventListener("abort", onAbort, { once: true });
  link.sendText(ask.text);
  link.resume();
  if (signal.aborted) onAbort();
}

function upgradeResponse(head: ResponseHead, container: NetConnection, rest: Buffer): ContainerUpgradeResponse {
  return {
    status: head.status,
    reason: head.reason,
    header: (name) => head.header(name),
    switched: head.status === 101 && head.upgrade === "websocket",
    container,
    rest,
  };
}
