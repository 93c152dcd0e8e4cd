import type { ResponseHead } from "../http1/message-reader.ts";
import type { ContainerConnection } from "./pool.ts";
import type { ForwardedExchange } from "./engine-context.ts";
import { switchProtocols } from "./upgrade.ts";

const CLOSE = "Connection: close\r\n";
/** For a client of HTTP/1.0 that requests a persistent connection. */
const KEEP = "Connection: keep-alive\r\n";
const NO_EDITS = { remove: [], add: [] };

/** Forwards bytes of the container: interim responses, then the head and body of the final one. */
export function passResponse(exchange: ForwardedExchange, chunk: Buffer): void {
  let at = 0;
  let taken = true;
  while (at < chunk.length) {
    const { container } = exchange;
    if (container === undefined) return;
    if (exchange.awaiting !== "head") return passBody(exchange, container, chunk, at);
    const { reader } = container;
    const from = at;
    at = reader.readHead(chunk, from);
    if (at === -1) break;
    const { head } = reader;
    if (head.status >= 200) return exchange.isIntercepted(head) ? undefined : beginResponse(exchange, container, head, chunk, from, at);
    if (head.status === 101) return switchProtocols(exchange, head, Buffer.from(chunk.subarray(at)));
    // HTTP/1.0 has no interim responses.
    if (exchange.head.minorVersion === 1) taken = exchange.client.connection.sendText(head.write(exchange.forward?.interim ?? NO_EDITS) ?? head.text);
  }
  // Only here: an idle connection in the pool must be read.
  if (!taken) exchange.container?.connection.pause();
}

function beginResponse(
  exchange: ForwardedExchange,
  container: ContainerConnection,
  head: ResponseHead,
  chunk: Buffer,
  from: number,
  bodyAt: number,
): void {
  const { client, forward, head: request } = exchange;
  const kind = head.bodyKind(request.method);
  // HTTP/1.0 has no chunks: the body ends with the connection.
  const dechunk = kind === "chunked" && request.minorVersion === 0;
  exchange.closing = client.closing(request.persistent) || kind === "close" || dechunk || request.websocket;
  const connection = exchange.closing ? CLOSE : request.minorVersion === 0 ? KEEP : "";
  const edits = forward === undefined ? NO_EDITS : forward.response(head, container.connectMs);
  const text = head.write(edits, connection, dechunk);
  exchange.record.responseStarted(head.status);
  exchange.responseLeft = head.bodyLength;
  exchange.awaiting = kind === "none" ? "over" : kind;
  if (dechunk) {
    exchange.responding = true;
    client.connection.sendText(text ?? head.text);
    return passBody(exchange, container, chunk, bodyAt);
  }
  const end = kind === "none" ? bodyAt : bodyEnd(exchange, container, chunk, bodyAt);
  const stop = end === -1 ? chunk.length : end;
  // Only here: if a call above throws, an error response can still be sent.
  exchange.responding = true;
  let taken: boolean;
  // Nothing changes in the head: the received buffer is sent without a copy.
  if (text === undefined && head.length === bodyAt - from)
    taken = client.connection.send(from === 0 && stop === chunk.length ? chunk : chunk.subarray(from, stop), container.connection);
  else taken = client.connection.sendText(text ?? head.text, stop === bodyAt ? undefined : chunk.subarray(bodyAt, stop));
  if (end !== -1) exchange.responseOver(stop === chunk.length && head.persistent);
  else if (!taken) container.connection.pause();
}

function passBody(exchange: ForwardedExchange, container: ContainerConnection, chunk: Buffer, at: number): void {
  const { client } = exchange;
  const dechunk = exchange.awaiting === "chunked" && exchange.head.minorVersion === 0;
  if (exchange.awaiting === "over") return exchange.responseOver(false);
  const { persistent } = container.reader.head;
  let taken = true;
  const pieces: Buffer[] = [];
  const end = bodyEnd(exchange, container, chunk, at, dechunk ? (from, to) => void pieces.push(chunk.subarray(from, to)) : undefined);
  const stop = end === -1 ? chunk.length : end;
  if (dechunk) taken = pieces.length === 0 || client.connection.send(Buffer.concat(pieces));
  else taken = client.connection.send(at === 0 && stop === chunk.length ? chunk : chunk.subarray(at, stop), container.connection);
  if (end !== -1) exchange.responseOver(stop === chunk.length && persistent);
  else if (!taken) container.connection.pause();
}

/** The offset after the body's end in `chunk`, or -1 if the whole rest belongs to it. */
function bodyEnd(
  exchange: ForwardedExchange,
  { reader }: ContainerConnection,
  chunk: Buffer,
  at: number,
  onData?: (from: number, to: number) => void,
): number {
  if (exchange.awaiting === "close") return -1;
  if (exchange.awaiting === "chunked") return reader.readChunked(chunk, at, onData);
  const available = chunk.length - at;
  if (available < exchange.responseLeft) {
    exchange.responseLeft -= available;
    return -1;
  }
  return at + exchange.responseLeft;
}
