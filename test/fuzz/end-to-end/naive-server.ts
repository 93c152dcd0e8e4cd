import { createServer, type Server, type Socket } from "node:net";

/** A request as it was taken: method, target, body as latin1. `oddity`: what a strict server would refuse in it. */
export type NaiveRequest = readonly [method: string, target: string, body: string, oddity: string | undefined];

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

const LINE = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+:[\t\x20-\x7e\x80-\xff]*$/;
const SIZE_LINE = /^[\dA-Fa-f]+(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n$/;

/** berth forwards heads that have one reading only. `lines`: as CRLF separates them. */
function oddityOf([first = "", ...lines]: readonly string[], end: string): string | undefined {
  if (end !== "\r\n\r\n") return "the end of the head is no CRLF";
  if (!/^[A-Z-]+ [!-~]+ HTTP\/1\.1$/.test(first)) return `the request line is ${first}`;
  const odd = lines.find((line) => !LINE.test(line));
  if (odd !== undefined) return `a line is ${odd}`;
  const valuesOf = (name: string) =>
    lines.filter((line) => line.toLowerCase().startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
  const [hosts, lengths, codings] = [valuesOf("host"), valuesOf("content-length"), valuesOf("transfer-encoding")];
  if (hosts.length !== 1) return `there are ${hosts.length} hosts`;
  if (lengths.length + codings.length > 1) return "the body has two framings";
  if (lengths.some((length) => !/^\d+$/.test(length)) || codings.some((coding) => !/^chunked$/i.test(coding))) return "the framing is malformed";
  return undefined;
}

function readOne(text: string): ReadRequest | undefined {
  const end = /\r?\n\r?\n/.exec(text.trimStart() === "" ? "" : text);
  if (end === null) return undefined;
  const head = text.slice(0, end.index);
  const oddity = oddityOf(head.split("\r\n"), end[0]);
  const [first = "", ...lines] = head.trimStart().split(/\r\n|\n|\r/);
  const [method = "", target = ""] = first.split(/\s+/);
  const fields = new Map(
    lines.map((line) => [(line.split(":")[0] ?? "").trim().toLowerCase().replaceAll("_", "-"), line.slice(line.indexOf(":") + 1)]),
  );
  const from = end.index + end[0].length;
  if (/chunked/i.test(fields.get("transfer-encoding") ?? "")) return readChunks(text, from, [method, target], oddity);
  const length = Number.parseInt(/\d+/.exec(fields.get("content-length") ?? "0")?.[0] ?? "0", 10);
  if (text.length < from + length) return undefined;
  return { request: [method, target, text.slice(from, from + length), oddity], left: text.slice(from + length) };
}

function readChunks(text: string, from: number, [method, target]: readonly [string, string], before: string | undefined): ReadRequest | undefined {
  let oddity = before;
  let at = from;
  let body = "";
  for (;;) {
    const line = /^[^\n]*\n/.exec(text.slice(at));
    if (line === null) return undefined;
    if (!SIZE_LINE.test(line[0])) oddity ??= `a size is ${line[0]}`;
    at += line[0].length;
    const size = Number.parseInt(line[0].trim(), 16) || 0;
    if (size === 0) break;
    if (text.length < at + size + 2) return undefined;
    body += text.slice(at, at + size);
    at += size + 2;
    if (text.slice(at - 2, at) !== "\r\n") oddity ??= "no CRLF is behind a chunk";
  }
  // Trailers, up to the empty line.
  const end = /^(?:[^\r\n]+\r?\n)*\r?\n/.exec(text.slice(at));
  return end === null ? undefined : { request: [method, target, body, oddity], left: text.slice(at + end[0].length) };
}
