import type { ClientRequest, IncomingMessage } from "node:http";
import { setsCookie } from "../../lib/cookies.ts";
import { Fault } from "../../lib/fault.ts";
import type { Forward, Head, HeaderEdits, HeaderLine, ResponseHeadView } from "../decision.ts";
import { HOP_BY_HOP, mayBeNamed } from "../http1/header-lines.ts";
import { MAX_HEAD_BYTES } from "../limits.ts";
import type { UpgradeRequestHead } from "../websockets/handshake.ts";
import { addedLines } from "../written-lines.ts";

/** Node removes the chunks of a body, and creates new ones. */
const OF_THE_BODY: readonly string[] = ["trailer", "transfer-encoding"];

/** The forwarded lines in their own order and case, after the edits. `rawHeaders`: Node's flat list of names and values. */
export function forwardedLines(rawHeaders: readonly string[], edits: HeaderEdits, alsoDropped: readonly string[] = []): HeaderLine[] {
  const { remove, removeCookies = [] } = edits;
  const dropped = new Set([...HOP_BY_HOP, ...OF_THE_BODY, ...remove, ...alsoDropped]);
  const names = namesOf(rawHeaders);
  const valueAt = (index: number) => rawHeaders[2 * index + 1] ?? "";
  for (const [index, name] of names.entries()) {
    if (name !== "connection") continue;
    for (const named of valueAt(index).toLowerCase().split(",")) if (mayBeNamed(named.trim())) dropped.add(named.trim());
  }
  const lines: HeaderLine[] = [];
  for (const [index, name] of names.entries())
    if (!dropped.has(name) && !(name === "set-cookie" && setsCookie(valueAt(index), removeCookies)))
      lines.push([rawHeaders[2 * index] ?? "", valueAt(index)]);
  return [...lines, ...addedLines(edits)];
}

/** In lower case. */
function namesOf(rawHeaders: readonly string[]): string[] {
  return rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
}

/** Replaces the library's head. Node writes lines of one name together, under the first one's spelling. */
export function writeHead(sent: ClientRequest, { target, lines }: Pick<Forward, "target"> & { lines: readonly HeaderLine[] }): void {
  // 0 removes Node's limit of 1000 lines, beyond which it silently drops lines.
  Object.assign(sent, { path: target, maxHeaderSize: MAX_HEAD_BYTES, maxHeadersCount: 0 });
  // The library sets a length of 0 for DELETE, which may have a body.
  sent.removeHeader("content-length");
  const written = new Set<string>();
  for (const [name, value] of lines) {
    if (written.has(name.toLowerCase())) sent.appendHeader(name, value);
    else sent.setHeader(name, value);
    written.add(name.toLowerCase());
  }
}

function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

export function headOf(request: IncomingMessage, upgrade: boolean): Head & UpgradeRequestHead {
  const { method = "GET", url = "/" } = request;
  return { method, target: url, upgrade, header: (name) => headerOf(request, name), lines: (edits) => forwardedLines(request.rawHeaders, edits) };
}

export function viewOf(received: IncomingMessage): ResponseHeadView {
  return { status: received.statusCode ?? 0, header: (name) => headerOf(received, name), names: () => namesOf(received.rawHeaders) };
}

/** Faults: CONTAINER_BROKE_OFF for what was not requested, and for what Node leaves on the body although its header is not forwarded. */
export function requireForwardable({ statusCode, headers }: IncomingMessage): void {
  if (statusCode === 101) throw new Fault("CONTAINER_BROKE_OFF", "The container switched to a protocol that was not requested");
  if (!/^(chunked|identity)$/i.test(headers["transfer-encoding"] ?? "chunked"))
    throw new Fault("CONTAINER_BROKE_OFF", "The container used a transfer coding other than chunked");
}

/** Refuses what Node's parser accepts, and the next hop might read differently. */
export function admissionFault({ httpVersion, rawHeaders, url = "", headers }: IncomingMessage): Fault | undefined {
  const invalid = (message: string) => new Fault("REQUEST_INVALID", message);
  // Node's parser also accepts 0.9 and 2.0, and responds as with 1.1.
  if (httpVersion !== "1.0" && httpVersion !== "1.1") return invalid("Only HTTP/1.1 and HTTP/1.0 are supported");
  if (namesOf(rawHeaders).filter((name) => name === "host").length > 1) return invalid("A request has exactly one Host header");
  // Servers differ in how they read other bytes than printable ASCII.
  if (!/^[\x21-\x7e]+$/.test(url)) return invalid("The request target has bytes that must be percent-encoded");
  const coding = headers["transfer-encoding"];
  if (coding === undefined) return undefined;
  if (coding.toLowerCase() !== "chunked") return invalid("The only supported transfer coding is chunked");
  return httpVersion === "1.1" ? undefined : invalid("HTTP/1.0 has no transfer codings");
}

/** Removes lines with an underscore in their name: many servers treat `x_user` and `x-user` as one name. */
export function dropUnderscores(request: IncomingMessage): void {
  const { rawHeaders, headers } = request;
  if (!namesOf(rawHeaders).some((name) => name.includes("_"))) return;
  request.rawHeaders = rawHeaders.filter((_, at) => !rawHeaders[at - (at % 2)]?.includes("_"));
  for (const name of Object.keys(headers)) if (name.includes("_")) delete headers[name];
}

export function isChunked({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined;
}

export function hasBody(request: IncomingMessage): boolean {
  return isChunked(request) || Number(request.headers["content-length"] ?? 0) > 0;
}

/**
 * The request is an upgrade to WebSocket. An upgrade to any other protocol is ignored (RFC 9110 §7.8). So is one with a body, because the upgrade would
 * begin after unread bytes.
 */
export function isWebSocket(request: IncomingMessage): boolean {
  return request.method === "GET" && request.httpVersion === "1.1" && request.headers.upgrade?.toLowerCase() === "websocket" && !hasBody(request);
}
