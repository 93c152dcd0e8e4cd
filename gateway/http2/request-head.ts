import { randomBytes } from "node:crypto";
import { isFieldValue } from "../../lib/character-classes.ts";

/** A request of HTTP/2 as the head of one of HTTP/1.1. */
export type TranslatedRequest = {
  /** As latin1, its empty line included. */
  head: string;
  method: string;
  /** How its body is sent; `tunnel`: after the response, its bytes belong to another protocol. */
  body: "none" | "length" | "chunked" | "tunnel";
  /** It has a length of 0, and DATA may follow. */
  awaitsEnd: boolean;
};

/** The request cannot be written as one of HTTP/1.1; it is answered with 400. */
export class RequestMalformed extends Error {}

/**
 * Translates the fields of a request (RFC 9113 §8.3.1), in the order in which they came. What HTTP/1.1 forbids is left to its parser; here only that no
 * field becomes another line. `Connection: close` is for the in-memory connection: each carries one request. `ended`: no DATA follows.
 */
export function translateRequest(fields: readonly string[], ended: boolean): TranslatedRequest {
  let method = "";
  let target = "";
  let authority: string | undefined;
  let protocol: string | undefined;
  let scheme = "";
  let host: string | undefined;
  let cookie: string | undefined;
  let length: string | undefined;
  let lines = "";
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    if (!isFieldValue(value)) throw new RequestMalformed(`The field ${name} has characters that are not allowed`);
    if (name === ":method") method = value;
    else if (name === ":path") target = value;
    else if (name === ":authority") authority = value;
    else if (name === ":scheme") scheme = value;
    else if (name === ":protocol") protocol = value;
    else if (name === "cookie") cookie = cookie === undefined ? value : `${cookie}; ${value}`;
    else if (name === "host") {
      if (host !== undefined) throw new RequestMalformed("The request has more than one host");
      host = value;
    } else if (HOP_BY_HOP.has(name)) continue;
    else {
      if (name === "content-length") length = value;
      lines += `${name}: ${value}\r\n`;
    }
  }
  if (host !== undefined && authority !== undefined && host !== authority)
    throw new RequestMalformed("The request's :authority and host name different hosts");
  const tunnel = method === "CONNECT" && protocol !== undefined;
  if (tunnel && protocol !== "websocket") throw new RequestMalformed("Only WebSockets can be opened by CONNECT");
  if (scheme !== "https" && scheme !== "http" && method !== "CONNECT") throw new RequestMalformed("The request's :scheme is not http or https");
  if (target.includes(" ") || method.includes(" ")) throw new RequestMalformed("The request's :method or :path contains a space");
  const named = authority ?? host;
  const body = tunnel ? "tunnel" : length !== undefined ? "length" : ended ? "none" : "chunked";
  const head =
    `${tunnel ? "GET" : method} ${method === "CONNECT" && !tunnel ? named : target} HTTP/1.1\r\n` +
    (named === undefined ? "" : `Host: ${named}\r\n`) +
    lines +
    (cookie === undefined ? "" : `Cookie: ${cookie}\r\n`) +
    (body === "chunked" ? "Transfer-Encoding: chunked\r\n" : "") +
    (tunnel
      ? `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`
      : "Connection: close\r\n\r\n");
  return { head, method, body, awaitsEnd: body === "length" && !ended && Number(length) === 0 };
}

/**
 * nghttp2 refuses the first ones (RFC 9113 §8.2.2), and all values of `te` but `trailers`. The key of a handshake is not sent over HTTP/2 (RFC 8441 §5):
 * berth makes one.
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te",
  "http2-settings",
  "sec-websocket-key",
]);
