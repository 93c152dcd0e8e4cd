import type { ClientRequest, IncomingMessage } from "node:http";
import type { Forward, Lease } from "../decision.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import { grouped, travelling } from "../connections/header-lines.ts";

/** Repeating one of these changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Replaces what the library wrote by the client's own lines, and its path by the one that was decided on. */
export function writeHead(sent: ClientRequest, request: IncomingMessage, forward: Forward): void {
  sent.path = forward.target;
  // 0 lifts Node's limit of 1000 lines, beyond which it drops them without a word.
  Object.assign(sent, { maxHeaderSize: MAX_HEAD_BYTES, maxHeadersCount: 0 });
  // The library gives a DELETE a length of 0, although it may have a body.
  if (sent.hasHeader("content-length")) sent.removeHeader("content-length");
  for (const [name, values] of grouped(travelling(request.rawHeaders, forward.request))) {
    // Node answered it already, or answers it when the body is wanted.
    if (name.toLowerCase() === "expect") continue;
    sent.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
  }
  if (isChunked(request)) sent.setHeader("Transfer-Encoding", "chunked");
}

/** Reads the client's body only now that there is somebody to take it: until then it stays in the client's own socket. */
export function sendBody(
  { request, lease, onBodyWanted }: { request: IncomingMessage; lease: Pick<Lease, "bytes">; onBodyWanted(): void },
  sent: ClientRequest,
): void {
  if (!hasBody(request)) return void sent.end();
  onBodyWanted();
  request.on("data", (chunk: Buffer) => lease.bytes(chunk.length, "client"));
  request.pipe(sent);
}

function isChunked(request: IncomingMessage): boolean {
  return request.headers["transfer-encoding"] !== undefined;
}

function hasBody(request: IncomingMessage): boolean {
  return isChunked(request) || Number(request.headers["content-length"] ?? 0) > 0;
}

/** True for a request that may go out a second time where nothing came back. */
export function isRepeatable(request: IncomingMessage): boolean {
  return IDEMPOTENT.has(request.method ?? "") && !hasBody(request);
}
