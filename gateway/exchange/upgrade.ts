import { Fault } from "../../lib/fault.ts";
import { acceptWebSocket, refuseWebSocket } from "../websockets/accept-websocket.ts";
import type { Decision, InterceptingForward } from "../decision.ts";
import { type RequestHead, type ResponseHead, MessageRefused } from "../http1/message-reader.ts";
import { spliceWebSocket } from "../websockets/splice-websocket.ts";
import type { AccessRecord } from "../access-record.ts";
import type { ContainerSide } from "./container-side.ts";
import type { EngineContext } from "./engine-context.ts";
import type { ExchangeClient } from "./exchange-client.ts";
import { writeLines, writeTarget } from "../http1/write-lines.ts";
import type { UpgradeContainer, ContainerUpgradeResponse, ContainerUpgradeRequest } from "../websockets/handshake.ts";
import { brokeOff, dialLease } from "../connections/dial.ts";
import type { NetConnection } from "../connections/connection.ts";

/** A request whose connection becomes a WebSocket. */
type UpgradeRequest = { head: RequestHead; record: AccessRecord };

/** Accepts the WebSocket at once, then connects to the container. */
export function acceptUpgrade(
  client: ExchangeClient,
  { head, record }: UpgradeRequest,
  { forward, lease, user }: Extract<Decision<InterceptingForward>, { kind: "acceptWebSocket" }>,
): void {
  const { context, connection } = client;
  record.becameWebSocket();
  const early = client.handOver();
  const accepted = acceptWebSocket(
    { ...context, upgrade: createUpgradeContainer(context) },
    { request: head, client: connection, early, forward, lease, user, draining: context.draining, record },
  );
  context.trackUpgraded(connection, accepted, record);
}

/** Accepts the WebSocket, and closes it with a code and a reason. */
export function refuseUpgrade(
  client: ExchangeClient,
  { head, record }: UpgradeRequest,
  { code, reason }: Extract<Decision, { kind: "refuseWebSocket" }>,
): void {
  record.becameWebSocket();
  client.handOver();
  const { connection, context } = client;
  context.trackUpgraded(connection, refuseWebSocket(context, { request: head, client: connection, code, reason }), record);
}

/** Forwards the container's 101 and splices the two connections. `rest`: the container's bytes after the 101. */
export function switchProtocols(
  client: ExchangeClient,
  { record }: Pick<UpgradeRequest, "record">,
  { container, lease }: Pick<ContainerSide, "container" | "lease">,
  rest: Buffer,
): void {
  if (container === undefined || lease === undefined) return;
  const { context, connection } = client;
  client.writer.sendSwitch();
  record.responseStarted(101);
  record.becameWebSocket();
  // An upgraded connection never returns to the pool.
  const upgraded = container.handOver();
  const early = client.handOver();
  const spliced = spliceWebSocket({
    ...context,
    client: connection,
    container: upgraded,
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
  connection: NetConnection,
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
    let at = from;
    do {
      at = reader.readHead(memory, at, end);
      if (at === -1) return;
      // Interim responses are dropped.
    } while (reader.head.status < 200 && reader.head.status !== 101);
    const { head } = reader;
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
