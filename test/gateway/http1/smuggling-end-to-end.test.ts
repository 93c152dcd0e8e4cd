import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import t, { type Test } from "tap";
import { smuggling } from "../../fixtures/smuggling.ts";
import { exchange, ID, openStand, PATH } from "../stand.ts";
import { listen, type ListenAddress } from "../../fixtures/server.ts";

/** A container and the requests that it has seen to their ends: method, target, body as latin1. */
type Upstream = { address: ListenAddress; forwarded: string[][] };

async function openNode(t: Test, lenient: boolean): Promise<Upstream> {
  const forwarded: string[][] = [];
  const server = createServer({ insecureHTTPParser: lenient }, (request: IncomingMessage, response) => {
    let body = "";
    request.setEncoding("latin1").on("data", (text: string) => (body += text));
    request.once("end", () => {
      forwarded.push([request.method ?? "", request.url ?? "", body]);
      response.end("ok");
    });
  });
  return { address: await listen(t, server), forwarded };
}

/**
 * Takes whatever can be taken for a request: any line end, any spelling of chunked, underscores for hyphens, the first number in a
 * length, and a body only where one of the two is there.
 */
async function openNaive(t: Test): Promise<Upstream> {
  const forwarded: string[][] = [];
  const server = createTcpServer((socket: Socket) => {
    let held = "";
    socket.setEncoding("latin1").on("error", () => undefined);
    socket.on("data", (text: string) => {
      held += text;
      for (let rest = readOne(held); rest !== undefined; rest = readOne(held)) {
        forwarded.push(rest.request);
        held = rest.left;
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      }
    });
  });
  return { address: await listen(t, server), forwarded };
}

function readOne(text: string): { request: string[]; left: string } | undefined {
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

function readChunks(text: string, from: number, start: string[]): { request: string[]; left: string } | undefined {
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
  return end === null ? undefined : { request: [...start, body], left: text.slice(at + end[0].length) };
}

const UPSTREAMS: Record<string, (t: Test) => Promise<Upstream>> = {
  "a strict container": (t) => openNode(t, false),
  "a lenient container": (t) => openNode(t, true),
  "a naive container": openNaive,
};

const LINES = "Host: berth\r\nAuthorization: token\r\n";
const LAST = `GET ${PATH}/last HTTP/1.1\r\n${LINES}Connection: close\r\n\r\n`;

for (const [name, openUpstream] of Object.entries(UPSTREAMS)) {
  t.test(`${name} sees no request but those that the edge has decided on`, async (t) => {
    const stand = await openStand(t, { forwarder: "splice", limits: { lingeringCloseMs: 20 } });
    const { address, forwarded: seen } = await openUpstream(t);
    stand.set(ID, { kind: "awake", address });
    for (const { name, stream, requests, refused } of smuggling(PATH, LINES)) {
      seen.length = 0;
      const answers = await exchange(stand.port, Buffer.from(refused === undefined ? stream + LAST : stream, "latin1"));
      // What was refused within its body has never been a whole request.
      const wanted = requests.filter(([, , body]) => body !== "…").map(([method, target, body]) => [method, target.slice(PATH.length), body]);
      if (refused === undefined) wanted.push(["GET", "/last", ""]);
      const statuses = [...answers.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));
      const wantedStatuses = [...wanted.map(() => 200), ...(refused === undefined ? [] : [refused])];
      t.same([seen, statuses], [wanted, wantedStatuses], name);
    }
  });
}
