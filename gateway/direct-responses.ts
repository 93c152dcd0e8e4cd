import { Fault, type FaultCode } from "../lib/fault.ts";
import type { DirectResponse, HeaderLine } from "./decision.ts";
import type { ServerResponse } from "node:http";
import type { NetConnection } from "./connections/connection.ts";

/** For clients of containers. Published plugins compare the content type with `===`, so it has no charset. */
export function containerErrorResponse(fault: Fault): DirectResponse {
  return answer(fault, JSON.stringify({ "datagrok-error": sentence(fault) }));
}

/** For clients of the REST API, which show their user `null` for any other form. */
export function apiErrorResponse(fault: Fault): DirectResponse {
  return answer(fault, JSON.stringify({ "#type": "ApiError", code: fault.status, message: sentence(fault), innerMessage: null }));
}

/** The message, and for a failed start the log tail. */
export function sentence(fault: Fault): string {
  if (fault.logs === undefined || fault.logs.length === 0) return fault.message;
  return `${fault.message.replace(/\.$/, "")}. Last log lines:\n${fault.logs.join("\n")}`;
}

function answer(fault: Fault, body: string): DirectResponse {
  const headers: HeaderLine[] = [
    ["Content-Type", "application/json"],
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Cache-Control", "no-store"],
  ];
  if (fault.retryAfterMs !== undefined) headers.push(["Retry-After", String(Math.max(1, Math.ceil(fault.retryAfterMs / 1_000)))]);
  if (fault.status === 401) headers.push(["WWW-Authenticate", "Bearer"]);
  return { status: fault.status, reason: fault.reason, headers, body };
}

/** A bug. The client gets no details. */
export function internalFault(cause: unknown): Fault {
  return new Fault("INTERNAL", "Internal error; see the log", { cause });
}

/** Does nothing if the client has left or a response has begun. */
export function sendResponse(response: ServerResponse, answer: DirectResponse): void {
  if (response.headersSent || response.destroyed) return;
  if (answer.close === true) response.shouldKeepAlive = false;
  response.writeHead(answer.status, answer.reason, answer.headers.flat());
  response.end(answer.body);
}

/** The same on the connection of an upgrade request, which it ends. */
export function sendRawResponse(connection: NetConnection, answer: DirectResponse): void {
  connection.sendText(headText(answer.status, answer.reason, [...answer.headers, ["Connection", "close"]]));
  connection.sendOwn(Buffer.from(answer.body));
  connection.end();
}

/** A response head in latin1. Its parts come from a parser or from constants, so they are not checked. */
export function headText(status: number, reason: string, lines: readonly HeaderLine[]): string {
  return [`HTTP/1.1 ${status} ${reason}`, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

/** `bodyless`: for a HEAD request, whose response has `Content-Length` but no body. */
export function responseBytes(answer: DirectResponse, { bodyless, connection }: { bodyless: boolean; connection: string | undefined }): Buffer {
  const lines = answer.headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const last = connection === undefined ? "" : `Connection: ${connection}\r\n`;
  const head = Buffer.from(`HTTP/1.1 ${answer.status} ${answer.reason}\r\n${lines}${last}\r\n`, "latin1");
  return bodyless || answer.body === "" ? head : Buffer.concat([head, Buffer.from(answer.body)]);
}

const CODES: Record<number, FaultCode> = {
  408: "HEAD_TIMED_OUT",
  413: "BODY_TOO_LARGE",
  414: "TARGET_TOO_LONG",
  431: "HEAD_TOO_LARGE",
  501: "METHOD_UNKNOWN",
  505: "VERSION_UNSUPPORTED",
};

/** The fault of bytes that are not a request. */
export function refusalFault(status: number, message: string): Fault {
  return new Fault(CODES[status] ?? "REQUEST_INVALID", message);
}
