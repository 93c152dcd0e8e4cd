import { createServer, type Server, type Socket } from "node:net";

/** A request as it was taken: method, target, body as latin1. */
export type NaiveRequest = readonly [method: string, target: string, body: string];

/**
 * Takes whatever can be taken for a request: any line end, any spelling of chunked, underscores for hyphens, the first number in a length, and a body only
 * where one of the two is there.
 */
export function createNaiveServer(onRequest: (request: NaiveRequest, socket: Socket) => void): Server {
  return createServer({ noDelay: true }, (socket: Socket) => {
    let held = "";
    socket.setEncoding("latin1").on("error", () => undefined);
    socket.on("data", (text: string) => {
      held += text;
      for (let rest = readOne(held); rest !== undefined; rest = readOne(held)) {
        held = rest.left;
        onRequest(rest.request, socket);
      }
    });
  });
}

type ReadRequest = { request: NaiveRequest; left: string };

function readOne(text: string): ReadRequest | undefined {
  const end = /\r?\n\r?\n/.exec(text.trimStart() === "" ? "" : text);
  if (end === null) return undefined;
  const head = text.slice(0, end.index);
  const [first = "", ...lines] = head.trimStart().split(/\r\n|\n|\r/);
  const [method = "", target = ""] = first.split(/\s+/);
  const fields = new Map(
    lines.map((line) => [(line.split(":")[0] ?? "").trim().toLowerCase().replaceAll("_", "-"), line.slice(line.indexOf(":") + 1)]),
  );
  const from = end.index + end[0].length;
  if (/chunked/i.test(fields.get("transfer-encoding") ?? "")) return readChunks(text, from, [method, target]);
  const length = Number.parseInt(/\d+/.exec(fields.get("content-length") ?? "0")?.[0] ?? "0", 10);
  if (text.length < from + length) return undefined;
  return { request: [method, target, text.slice(from, from + length)], left: text.slice(from + length) };
}

function readChunks(text: string, from: number, [method, target]: readonly [string, string]): ReadRequest | undefined {
  let at = from;
  let body = "";
  for (;;) {
    const line = /^[^\n]*\n/.exec(text.slice(at));
    if (line === null) return undefined;
    at += line[0].length;
    const size = Number.parseInt(line[0].trim(), 16) || 0;
    if (size === 0) break;
    if (text.length < at + size + 2) return undefined;
    body += text.slice(at, at + size);
    at += size + 2;
  }
  // Trailers, up to the empty line.
  const end = /^(?:[^\r\n]+\r?\n)*\r?\n/.exec(text.slice(at));
  return end === null ? undefined : { request: [method, target, body], left: text.slice(at + end[0].length) };
}
