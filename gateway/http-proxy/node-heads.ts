import { setsCookie } from "../../lib/cookies.ts";
import type { HeaderEdits, HeaderLine, Head, ResponseHeadView } from "../decision.ts";
import { HOP_BY_HOP, mayBeNamed } from "../http1/header-lines.ts";
import type { IncomingMessage } from "node:http";
import type { UpgradeRequestHead } from "../websockets/handshake.ts";

/** Node takes bodies out of their chunks and puts them into new ones. */
const OF_THE_BODY = new Set(["trailer", "transfer-encoding"]);

/** Node's flat list of names and values, as lines. */
export function linesOf(rawHeaders: readonly string[]): HeaderLine[] {
  const lines: HeaderLine[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) lines.push([rawHeaders[at] ?? "", rawHeaders[at + 1] ?? ""]);
  return lines;
}

/** The names in Node's flat list, in lower case. */
export function namesOf(rawHeaders: readonly string[]): string[] {
  return linesOf(rawHeaders).map(([name]) => name.toLowerCase());
}

/** The lines that travel on, in their own order and case, after the edits. */
export function travelling(rawHeaders: readonly string[], edits: HeaderEdits): HeaderLine[] {
  const lines = linesOf(rawHeaders);
  const dropped = new Set(edits.remove);
  for (const [name, value] of lines) {
    if (name.toLowerCase() !== "connection") continue;
    for (const named of value.toLowerCase().split(",")) if (mayBeNamed(named.trim())) dropped.add(named.trim());
  }
  const kept = lines.filter(
    ([name, value]) =>
      !HOP_BY_HOP.has(name.toLowerCase()) && !OF_THE_BODY.has(name.toLowerCase()) && !dropped.has(name.toLowerCase()) && !plants(edits, name, value),
  );
  return [...kept, ...edits.add];
}

/** Whether this line sets a cookie that the edits remove. */
export function plants({ removeCookies }: HeaderEdits, name: string, value: string): boolean {
  return removeCookies !== undefined && name.length === SET_COOKIE.length && name.toLowerCase() === SET_COOKIE && setsCookie(value, removeCookies);
}

const SET_COOKIE = "set-cookie";

/** Lines grouped by name, as Node's `setHeader` wants repeated ones; the first spelling of a name wins. */
export function grouped(lines: readonly HeaderLine[]): [name: string, values: string[]][] {
  const groups = new Map<string, [string, string[]]>();
  for (const [name, value] of lines) {
    const group = groups.get(name.toLowerCase());
    if (group === undefined) groups.set(name.toLowerCase(), [name, [value]]);
    else group[1].push(value);
  }
  return [...groups.values()];
}

/**
 * True where a request is to become a WebSocket. No other protocol is ours to switch to: such a request is answered as if it had
 * not asked (RFC 9110 §7.8). So is one with a body: its upgrade would begin behind bytes that nobody has read.
 */
export function isWebSocket(request: IncomingMessage): boolean {
  const { method, httpVersion, headers } = request;
  const bodyless = headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0;
  return method === "GET" && httpVersion === "1.1" && headers.upgrade?.toLowerCase() === "websocket" && bodyless;
}

/** Takes lines whose name has an underscore for not there: many servers make `x_user` and `x-user` one name. */
export function dropUnderscores(request: IncomingMessage): void {
  const lines = linesOf(request.rawHeaders);
  const kept = lines.filter(([name]) => !name.includes("_"));
  if (kept.length === lines.length) return;
  request.rawHeaders = kept.flat();
  for (const name of Object.keys(request.headers)) if (name.includes("_")) delete request.headers[name];
}

/** What `decide` sees of a request that Node has parsed. */
export function headOf(request: IncomingMessage, upgrade: boolean): Head {
  return {
    method: request.method ?? "GET",
    target: request.url ?? "/",
    upgrade,
    header: (name) => headerOf(request, name),
  };
}

/** What the WebSocket path sees of it. */
export function upgradeHeadOf(request: IncomingMessage): UpgradeRequestHead {
  return { header: (name) => headerOf(request, name), lines: (edits) => travelling(request.rawHeaders, edits) };
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** What `Forward.response` sees of a response that Node has parsed. */
export function responseHeadOf(received: IncomingMessage): ResponseHeadView {
  return { status: received.statusCode ?? 502, header: (name) => headerOf(received, name), names: () => namesOf(received.rawHeaders) };
}
