import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Answer, HeaderLine } from "../decision.ts";

/** Writes an answer of the system's own; does nothing where the client has left or a response has begun. */
export function sendAnswer(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return;
  if (answer.close === true) response.shouldKeepAlive = false;
  response.writeHead(answer.status, answer.reason, answer.headers.flat());
  response.end(answer.body);
}

/** The same on a bare socket, for a request that asked for an upgrade; the connection ends with it. */
export function sendRawAnswer(socket: Duplex, answer: Answer): void {
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
