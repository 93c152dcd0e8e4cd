import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Answer } from "../decision.ts";

/** Writes an answer of the system's own; does nothing where the client has left or a response has begun. */
export function sendAnswer(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(answer.status, answer.reason, answer.headers.flat());
  response.end(answer.body);
}

/** The same on a bare socket, for a request that asked for an upgrade; the connection ends with it. */
export function sendRawAnswer(socket: Duplex, answer: Answer): void {
  if (socket.destroyed || socket.writableEnded) return;
  const lines = answer.headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.end(`HTTP/1.1 ${answer.status} ${answer.reason}\r\n${lines}Connection: close\r\n\r\n${answer.body}`);
}
