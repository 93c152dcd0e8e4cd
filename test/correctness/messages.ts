/** The judge's own reading of HTTP/1.1: strict, slow, and of no parser that a proxy uses. */

export type MessageHead = {
  /** The request line or status line. */
  start: string;
  /** Header lines as they came. */
  lines: readonly string[];
  /** The values under a lower-case name. */
  values(name: string): string[];
};

export type Response = MessageHead & {
  status: number;
  framing: "none" | "length" | "chunked" | "close";
  /** Without the framing. */
  body: string;
  /** With it. */
  raw: string;
  trailers: readonly string[];
  /** False where the connection was over before the message was. */
  whole: boolean;
};

export type Read = { responses: Response[]; rest: string };

const HEAD_END = "\r\n\r\n";

/** The responses in what came to a client that used these methods, interim ones too. `over`: how the connection ended. */
export function readResponses(came: string, methods: readonly string[], over: "open" | "ended" | "reset"): Read {
  const responses: Response[] = [];
  let rest = came;
  let started = 0;
  while (rest.includes(HEAD_END)) {
    const head = readHead(rest.slice(0, rest.indexOf(HEAD_END)));
    const after = rest.slice(rest.indexOf(HEAD_END) + HEAD_END.length);
    const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(`${head.start} `)?.[1] ?? 0);
    const read = readBody(head, status, methods[started], after, over);
    responses.push({ ...head, status, ...read.message });
    rest = read.rest;
    if (status >= 200 || status === 101) started++;
    if (!read.message.whole || status === 0 || status === 101) break;
  }
  return { responses, rest };
}

export function readHead(text: string): MessageHead {
  const [start = "", ...lines] = text.split("\r\n");
  return {
    start,
    lines,
    values: (name) => lines.filter((line) => line.toLowerCase().startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim()),
  };
}

type Body = Pick<Response, "framing" | "body" | "raw" | "trailers" | "whole">;

function readBody(head: MessageHead, status: number, method: string | undefined, after: string, over: string): { message: Body; rest: string } {
  const message: Body = { framing: "none", body: "", raw: "", trailers: [], whole: true };
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return { message, rest: after };
  if (head.values("transfer-encoding").length > 0) return readChunked(after);
  const [length] = head.values("content-length");
  if (length === undefined) return { message: { ...message, framing: "close", body: after, raw: after, whole: over === "ended" }, rest: "" };
  const body = after.slice(0, Number(length));
  return { message: { ...message, framing: "length", body, raw: body, whole: body.length === Number(length) }, rest: after.slice(Number(length)) };
}

/** Reads a chunked body with its trailers. */
export function readChunked(text: string): { message: Body; rest: string } {
  const message: Body = { framing: "chunked", body: "", raw: text, trailers: [], whole: false };
  let at = 0;
  for (;;) {
    const end = text.indexOf("\r\n", at);
    const size = /^([0-9a-f]+)(?:[ \t]*;.*)?$/i.exec(text.slice(at, Math.max(end, at)))?.[1];
    if (end === -1 || size === undefined) return { message, rest: "" };
    const length = Number.parseInt(size, 16);
    if (length === 0) return readTrailers(text, end, message);
    message.body += text.slice(end + 2, end + 2 + length);
    at = end + 2 + length;
    if (text.slice(at, at + 2) !== "\r\n") return { message, rest: "" };
    at += 2;
  }
}

function readTrailers(text: string, sizeEnd: number, message: Body): { message: Body; rest: string } {
  const end = text.indexOf(HEAD_END, sizeEnd);
  if (end === -1) return { message, rest: "" };
  const trailers = text
    .slice(sizeEnd + 2, end)
    .split("\r\n")
    .filter(Boolean);
  return { message: { ...message, trailers, whole: true, raw: text.slice(0, end + 4) }, rest: text.slice(end + 4) };
}
