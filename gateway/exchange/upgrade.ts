import { Fault } from "../../lib/fault.ts";
import { acceptWebSocket, refuseWebSocket } from "../websockets/accept-websocket.ts";
import type { Decision, InterceptingForward } from "../decision.ts";
import { type ResponseHead, MessageRefused } from "../http1/message-reader.ts";
import { spliceWebSocket } from "../websockets/splice-websocket.ts";
import type { ForwardedExchange, EngineContext } from "./engine-context.ts";
import { writeLines, writeTarget } from "../http1/write-lines.ts";
import type { UpgradeContainer, ContainerUpgradeResponse, ContainerUpgradeRequest } from "../websockets/handshake.ts";
import { brokeOff, dialLease } from "../connections/dial.ts";
import type { Connection } from "../connections/connection.ts";

/** The hop-by-hop lines of an upgrade, which berth writes itself. */
export const SWITCH_LINES = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/** Accepts the WebSocket at once, then connects to the container. */
export function acceptUpgrade(
  exchange: ForwardedExchange,
  { forward, lease, user }: Extract<Decision<InterceptingForward>, { kind: "acceptWebSocket" }>,
): void {
  const { client, head, record } = exchange;
  const { context, connection } = client;
  record.becameWebSocket();
  exchange.handOver();
  const early = client.handOver();
  const accepted = acceptWebSocket(
    { ...context, upgrade: createUpgradeContainer(context) },
    { request: head, client: connection, early, forward, lease, user, draining: context.draining, record },
  );
  context.trackUpgraded(connection, accepted, record);
}

/** Accepts the WebSocket, and closes it with a code and a reason. */
export function refuseUpgrade(exchange: ForwardedExchange, { code, reason }: Extract<Decision, { kind: "refuseWebSocket" }>): void {
  const { client, head, record } = exchange;
  record.becameWebSocket();
  exchange.handOver();
  client.handOver();
  const { connection, context } = client;
  context.trackUpgraded(connection, refuseWebSocket(context, { request: head, client: connection, code, reason }), record);
}

/** Forwards the container's 101, and splices the two connections. */
export function switchProtocols(exchange: ForwardedExchange, head: ResponseHead, rest: Buffer): void {
  const { client, forward, lease, container, record } = exchange;
  if (container === undefined || forward === undefined || lease === undefined) return;
  if (!exchange.head.websocket || head.upgrade !== "websocket")
    return exchange.fail(new Fault("CONTAINER_BROKE_OFF", "The container switched to a protocol that was not requested"));
  const { context, connection } = client;
  head.writeTo(connection, forward.response(head, container.connectMs), SWITCH_LINES);
  record.responseStarted(101);
  record.becameWebSocket();
  exchange.handOver();
  container.reader.close();
  // An upgraded connection never returns to the pool.
  context.pool.forget(container);
  container.connection.pause();
  const early = client.handOver();
  const spliced = spliceWebSocket({
    ...context,
    client: connection,
    container: container.connection,
    early: early.length > 0 ? [early] : [],
    rest,
    lease,
    record,
  });
  context.trackUpgraded(
    connection,
    spliced.finally(() => lease.release()),
    record,
  );
}

type UpgradeContainerDeps = Pick<EngineContext, "clock" | "limits" | "http1" | "connections" | "dials" | "h2c">;

/** Requests WebSockets of containers, each over a new connection. */
function createUpgradeContainer(deps: UpgradeContainerDeps): UpgradeContainer {
  return async (request) => {
    const text = `GET ${writeTarget(request.target)} HTTP/1.1\r\n${writeLines(request.lines)}\r\n`;
    const { socket } = await dialLease(request.lease, { ...deps, signal: request.signal });
    const connection = deps.connections.adopt(socket, { readToEnd: true });
    return new Promise((resolve, reject) => awaitUpgrade(deps, connection, { ...request, text }, resolve, reject));
  };
}

function awaitUpgrade(
  { http1, clock }: UpgradeContainerDeps,
  connection: Connection,
  { signal, headTimeoutMs, text }: ContainerUpgradeRequest & { text: string },
  resolve: (response: ContainerUpgradeResponse) => void,
  reject: (error: unknown) => void,
): void {
  const reader = http1.responses();
  const settle = () => {
    cancel();
    reader.close();
    signal.removeEventListener("abort", onAbort);
  };
  const fail = (error: unknown) => {
    settle();
    connection.destroy();
    reject(error);
  };
  const onAbort = () => fail(signal.reason);
  const cancel = clock.after(headTimeoutMs, () => fail(new Fault("RESPONSE_TIMED_OUT", "The container did not respond in time")));

  const take = (memory: Buffer, from: number, end: number): void => {
    const at = reader.readHead(memory, from, end);
    if (at === -1) return;
    const { head } = reader;
    // An interim response.
    if (head.status < 200 && head.status !== 101) return take(memory, at, end);
    head.keep();
    reader.expireHead();
    connection.pause();
    settle();
    resolve(upgradeResponse(head, connection, Buffer.from(memory.subarray(at, end))));
  };

  connection.user = {
    onBytes: (memory, at, end) => {
      try {
        take(memory, at, end);
      } catch (error) {
        const fault =
          error instanceof MessageRefused ? new Fault("CONTAINER_BROKE_OFF", `The container's response is not HTTP: ${error.message}`) : error;
        fail(fault);
      }
    },
    onDrain: () => undefined,
    onEnd: () => fail(brokeOff(undefined)),
    onClose: (error) => fail(brokeOff(error)),
  };
  signal.addEventListener("abort", onAbort, { once: true });
  connection.sendText(text);
  connection.resume();
  if (signal.aborted) onAbort();
}

function upgradeResponse(head: ResponseHead, container: Connection, rest: Buffer): ContainerUpgradeResponse {
  return {
    status: head.status,
    reason: head.reason,
    header: (name) => head.header(name),
    switched: head.status === 101 && head.upgrade === "websocket",
    container,
    rest,
  };
}
