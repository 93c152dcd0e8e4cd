import type { ClientRequest, IncomingMessage } from "node:http";
import { setsCookie } from "../../lib/cookies.ts";
import type { Forward, Head, HeaderEdits, HeaderLine, Lease, ResponseHeadView } from "../decision.ts";
import { addedLines } from "../written-lines.ts";
import { HOP_BY_HOP, mayBeNamed } from "../http1/header-lines.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import type { UpgradeRequestHead } from "../websockets/handshake.ts";

/** Node removes the chunks of a body, and creates new ones. */
const OF_THE_BODY = new Set(["trailer", "transfer-encoding"]);

/** Node's flat list of names and values, as lines. */
function linesOf(rawHeaders: readonly string[]): HeaderLine[] {
  const lines: HeaderLine[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) lines.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  return lines;
}

/** The forwarded lines in their own order and case, after the edits. */
export function forwardedLines(rawHeaders: readonly string[], edits: HeaderEdits): HeaderLine[] {
  const lines = linesOf(rawHeaders);
  const dropped = new Set(edits.remove);
  for (const [name, value] of lines) {
    if (name.toLowerCase() !== "connection") continue;
    for (const named of value.toLowerCase().split(",")) if (mayBeNamed(named.trim())) dropped.add(named.trim());
  }
  const kept = lines.filter(
    ([name, value]) =>
      !HOP_BY_HOP.has(name.toLowerCase()) &&
      !OF_THE_BODY.has(name.toLowerCase()) &&
      !dropped.has(name.toLowerCase()) &&
      !setsRemovedCookie(edits, name, value),
  );
  return [...kept, ...addedLines(edits)];
}

/** The line sets a cookie that the edits remove. */
function setsRemovedCookie({ removeCookies }: HeaderEdits, name: string, value: string): boolean {
  return removeCookies !== undefined && name.length === SET_COOKIE.length && name.toLowerCase() === SET_COOKIE && setsCookie(value, removeCookies);
}

const SET_COOKIE = "set-cookie";

/** Lines grouped by name, for Node's `setHeader`; the first spelling of a name wins. */
function grouped(lines: readonly HeaderLine[]): [name: string, values: string[]][] {
  const groups = new Map<string, [string, string[]]>();
  for (const [name, value] of lines) {
    const group = groups.get(name.toLowerCase());
    if (group === undefined) groups.set(name.toLowerCase(), [name, [value]]);
    else group[1].push(value);
  }
  return [...groups.values()];
}

/**
 * The request is an upgrade to WebSocket. An upgrade to any other protocol is ignored (RFC 9110 §7.8). So is one with a body, because the upgrade would
 * begin after unread bytes.
 */
export function isWebSocket(request: IncomingMessage): boolean {
  const { method, httpVersion, headers } = request;
  const bodyless = headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0;
  return method === "GET" && httpVersion === "1.1" && headers.upgrade?.toLowerCase() === "websocket" && bodyless;
}

/** Removes lines with an underscore in their name: many servers treat `x_user` and `x-user` as one name. */
export function dropUnderscores(request: IncomingMessage): void {
  const lines = linesOf(request.rawHeaders);
  const kept = lines.filter(([name]) => !name.includes("_"));
  if (kept.length === lines.length) return;
  request.rawHeaders = kept.flat();
  for (const name of Object.keys(request.headers)) if (name.includes("_")) delete request.headers[name];
}

export function headOf(request: IncomingMessage, upgrade: boolean): Head {
  return {
    method: request.method ?? "GET",
    target: request.url ?? "/",
    upgrade,
    header: (name) => headerOf(request, name),
  };
}

export function upgradeHeadOf(request: IncomingMessage): UpgradeRequestHead {
  return { header: (name) => headerOf(request, name), lines: (edits) => forwardedLines(request.rawHeaders, edits) };
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

export function responseHeadOf(received: IncomingMessage): ResponseHeadView {
  return {
    status: received.statusCode ?? 502,
    header: (name) => headerOf(received, name),
    names: () => linesOf(received.rawHeaders).map(([name]) => name.toLowerCase()),
  };
}

/** Repeating one of these changes nothing (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Replaces the library's head by the client's lines and the decision's path. */
export function writeHead(sent: ClientRequest, request: IncomingMessage, forward: Forward): void {
  sent.path = forward.target;
  // 0 removes Node's limit of 1000 lines, beyond which it silently drops lines.
  Object.assign(sent, { maxHeaderSize: MAX_HEAD_BYTES, maxHeadersCount: 0 });
  // The library sets a length of 0 for DELETE, which may have a body.
  if (sent.hasHeader("content-length")) sent.removeHeader("content-length");
  for (const [name, values] of grouped(forwardedLines(request.rawHeaders, forward.request))) {
    // Node responds to it when the body is wanted.
    if (name.toLowerCase() === "expect") continue;
    sent.setHeader(name, values.length === 1 ? (values[0] ?? "") : values);
  }
  if (isChunked(request)) sent.setHeader("Transfer-Encoding", "chunked");
}

/** Reads the client's body only after the container is connected. */
export function sendBody(
  { request, lease, onBodyWanted }: { request: IncomingMessage; lease: Pick<Lease, "countBytes">; onBodyWanted(): void },
  sent: ClientRequest,
): void {
  if (!hasBody(request)) return void sent.end();
  onBodyWanted();
  request.on("data", (chunk: Buffer) => lease.countBytes(chunk.length, "client"));
  request.pipe(sent);
}

function isChunked(request: IncomingMessage): boolean {
  return request.headers["transfer-encoding"] !== undefined;
}

function hasBody(request: IncomingMessage): boolean {
  return isChunked(request) || Number(request.headers["content-length"] ?? 0) > 0;
}

/** The request may be sent again if no byte of a response came. */
export function isRepeatable(request: IncomingMessage): boolean {
  return IDEMPOTENT.has(request.method ?? "") && !hasBody(request);
}
