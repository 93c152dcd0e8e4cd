import type { IncomingMessage } from "node:http";
import type { Head, ResponseHead } from "../decision.ts";
import type { UpgradeAsked } from "../connections/ask-upgrade.ts";
import { linesOf, namesOf, travelling } from "../connections/header-lines.ts";

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
export function askedOf(request: IncomingMessage): UpgradeAsked {
  return { header: (name) => headerOf(request, name), lines: (edits) => travelling(request.rawHeaders, edits) };
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** What `Forward.response` sees of a response that Node has parsed. */
export function responseHeadOf(received: IncomingMessage): ResponseHead {
  return { status: received.statusCode ?? 502, header: (name) => headerOf(received, name), names: () => namesOf(received.rawHeaders) };
}
