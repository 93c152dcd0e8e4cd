import { createServer, type IncomingMessage } from "node:http";
import t, { type Test } from "tap";
import { smuggling } from "../../fixtures/smuggling.ts";
import { createNaiveServer } from "../../fuzz/end-to-end/naive-server.ts";
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

async function openNaive(t: Test): Promise<Upstream> {
  const forwarded: string[][] = [];
  const server = createNaiveServer(([method, target, body, oddity], socket) => {
    forwarded.push([method, target, body, ...(oddity === undefined ? [] : [oddity])]);
    socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  return { address: await listen(t, server), forwarded };
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
