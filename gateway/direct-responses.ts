import { Fault, type FaultCode } from "../lib/fault.ts";
import type { DirectResponse, HeaderLine } from "./decision.ts";
import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** A failure as the published plugins read it: they compare the content type with `===`, so it has no charset. */
export function containerErrorResponse(fault: Fault): DirectResponse {
  return answer(fault, JSON.stringify({ "datagrok-error": sentence(fault) }));
}

/** A failure as clients of the REST API read it; anything else shows their user `null`. */
export function apiErrorResponse(fault: Fault): DirectResponse {
  return answer(fault, JSON.stringify({ "#type": "ApiError", code: fault.status, message: sentence(fault), innerMessage: null }));
}

/** One sentence, and for a failed start the last log lines below it. */
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

/** A bug: no detail leaves the house. */
export function internalFault(cause: unknown): Fault {
  return new Fault("INTERNAL", "Something went wrong here; the log says what", { cause });
}

/** Writes an answer of the system's own; does nothing where the client has left or a response has begun. */
export function sendResponse(response: ServerResponse, answer: DirectResponse): void {
  if (response.headersSent || response.destroyed) return;
  if (answer.close === true) response.shouldKeepAlive = false;
  response.writeHead(answer.status, answer.reason, answer.headers.flat());
  response.end(answer.body);
}

/** The same on a bare socket, for a request that asked for an upgrade; the connection ends with it. */
export function sendRawResponse(socket: Duplex, answer: DirectResponse): void {
  if (socket.destroyed || socket.writableEnded) return;
  sendRawHead(socket, answer.status, answer.reason, [...answer.headers, ["Connection", "close"]]);
  socket.end(answer.body);
}

/** Writes a head as the bytes that its lines came as. */
export function sendRawHead(socket: Duplex, status: number, reason: string, lines: readonly HeaderLine[]): void {
  socket.write(headText(status, reason, lines), "latin1");
}

/** A response head, one byte a character; names, values and reason are from a parser or from here. */
export function headText(status: number, reason: string, lines: readonly HeaderLine[]): string {
  return [`HTTP/1.1 ${status} ${reason}`, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

/** An answer of the system's own as it goes over the wire. `bodyless`: to a HEAD, which is told of a body and gets none. */
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

/** What is wrong with bytes that are no request; the connection ends with the answer to it. */
export function refusalFault(status: number, sentence: string): Fault {
  return new Fault(CODES[status] ?? "REQUEST_INVALID", sentence);
}
