import type { ResponseHead } from "../http1/message-reader.ts";
import type { ContainerConnection } from "./pool.ts";
import type { ForwardedExchange } from "./engine-context.ts";
import { switchProtocols } from "./upgrade.ts";

const CLOSE = "Connection: close\r\n";
/** For a client of HTTP/1.0 that requests a persistent connection. */
const KEEP = "Connection: keep-alive\r\n";
const NO_EDITS = { remove: [], add: [] };

/** Forwards bytes of the container: interim responses, then the head and body of the final one. */
export function passResponse(exchange: ForwardedExchange, memory: Buffer, start: number, end: number): void {
  let at = start;
  let taken = true;
  while (at < end) {
    const { container } = exchange;
    if (container === undefined) return;
    if (exchange.awaiting !== "head") return passBody(exchange, container, memory, at, end);
    const { reader } = container;
    const from = at;
    at = reader.readHead(memory, from, end);
    if (at === -1) break;
    const { head } = reader;
    if (head.status >= 200) return exchange.isIntercepted(head) ? undefined : beginResponse(exchange, container, head, memory, from, at, end);
    if (head.status === 101) return switchProtocols(exchange, head, Buffer.from(memory.subarray(at, end)));
    // HTTP/1.0 has no interim responses.
    if (exchange.head.minorVersion === 1) taken = head.writeTo(exchange.client.connection, exchange.forward?.interim ?? NO_EDITS);
  }
  // Only here: an idle connection in the pool must be read.
  if (!taken) exchange.container?.connection.pause();
}

function beginResponse(
  exchange: ForwardedExchange,
  container: ContainerConnection,
  head: ResponseHead,
  memory: Buffer,
  from: number,
  bodyAt: number,
  end: number,
): void {
  const { client, forward, head: request } = exchange;
  const kind = head.bodyKind(request.method);
  // HTTP/1.0 has no chunks: the body ends with the connection.
  const dechunk = kind === "chunked" && request.minorVersion === 0;
  exchange.closing = client.closing(request.persistent) || kind === "close" || dechunk || request.websocket;
  const connection = exchange.closing ? CLOSE : request.minorVersion === 0 ? KEEP : "";
  const edits = forward === undefined ? NO_EDITS : forward.response(head, container.connectMs);
  const changes = head.changes(edits, connection, dechunk);
  exchange.record.responseStarted(head.status);
  exchange.responseLeft = head.bodyLength;
  exchange.awaiting = kind === "none" ? "over" : kind;
  if (dechunk) {
    head.writeTo(client.connection, edits, connection, dechunk);
    exchange.responding = true;
    return passBody(exchange, container, memory, bodyAt, end);
  }
  const over = kind === "none" ? bodyAt : bodyEnd(exchange, container, memory, bodyAt, end);
  const stop = over === -1 ? end : over;
  let taken: boolean;
  // Nothing changes in the head, which came whole: it is sent with its body.
  if (!changes && head.length === bodyAt - from) taken = client.connection.send(memory, from, stop);
  else {
    taken = head.writeTo(client.connection, edits, connection);
    if (stop > bodyAt) taken = client.connection.send(memory, bodyAt, stop);
  }
  // Only here: if a call above throws, an error response can still be sent.
  exchange.responding = true;
  if (over !== -1) exchange.responseOver(stop === end && head.persistent);
  else if (!taken) container.connection.pause();
}

function passBody(exchange: ForwardedExchange, container: ContainerConnection, memory: Buffer, at: number, end: number): void {
  const { client } = exchange;
  const dechunk = exchange.awaiting === "chunked" && exchange.head.minorVersion === 0;
  if (exchange.awaiting === "over") return exchange.responseOver(false);
  const { persistent } = container.reader.head;
  let taken = true;
  const onData = (from: number, to: number) => void (taken = client.connection.send(memory, from, to));
  const over = bodyEnd(exchange, container, memory, at, end, dechunk ? onData : undefined);
  const stop = over === -1 ? end : over;
  if (!dechunk) taken = client.connection.send(memory, at, stop);
  if (over !== -1) exchange.responseOver(stop === end && persistent);
  else if (!taken) container.connection.pause();
}

/** The offset after the body's end, or -1 if the whole rest belongs to it. */
function bodyEnd(
  exchange: ForwardedExchange,
  { reader }: ContainerConnection,
  memory: Buffer,
  at: number,
  end: number,
  onData?: (from: number, to: number) => void,
): number {
  if (exchange.awaiting === "close") return -1;
  if (exchange.awaiting === "chunked") return reader.readChunked(memory, at, end, onData);
  const available = end - at;
  if (available < exchange.responseLeft) {
    exchange.responseLeft -= available;
    return -1;
  }
  return at + exchange.responseLeft;
}
