import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import t from "tap";
import { WebSocketServer } from "ws";
import type { AccessRecord } from "../../../gateway/access-record.ts";
import { listen } from "../../fixtures/server.ts";
import { visit } from "../../program/rights/fixtures/chromium.ts";
import { ID, openContainer, PATH, WS_PATH } from "../stand.ts";
import { openHttp2Stand } from "./fixture.ts";

/** What a page of the edge's own origin does. Seven streams are more than a browser opens connections of HTTP/1.1. */
const SCRIPT = `
  await cookieStore.set("auth", "token");
  const protocolOf = (path) => performance.getEntriesByName(new URL(path, location.href).href)[0]?.nextHopProtocol;
  const streams = Array.from({ length: 7 }, () => new EventSource("${PATH}/events"));
  await Promise.all(streams.map((stream) => new Promise((resolve) => (stream.onmessage = resolve))));
  const echoed = await (await fetch("${PATH}/echoed", { method: "POST", body: "echoed" })).text();
  const talk = (path) => new Promise((resolve) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + path);
    const received = [];
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => { received.push(data); if (data === "hello") { socket.close(1000); } };
    socket.onclose = ({ code }) => resolve([...received, code]);
  });
  const result = {
    page: performance.getEntriesByType("navigation")[0].nextHopProtocol,
    fetched: protocolOf("${PATH}/echoed"),
    echoed,
    waiting: await talk("${WS_PATH}/ws"),
    own: await talk("${PATH}/ws"),
  };
  await fetch("/report", { method: "POST", body: JSON.stringify(result) });
`;

t.test("Chromium speaks HTTP/2 with the edge: pages, streams, uploads and WebSockets", async (t) => {
  const records: AccessRecord[] = [];
  const stand = await openHttp2Stand(t, { watchers: [(record) => void records.push(record)] });
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const api = createServer((request, response) => {
    if (request.url !== "/report")
      return void response.writeHead(200, { "content-type": "text/html" }).end(`<script type="module">${SCRIPT}</script>`);
    void text(request).then((body) => resolve(JSON.parse(body)));
    return void response.end();
  });
  await listen(t, api, { path: stand.apiSocket });
  const { address, server } = await openContainer(t, (request, response) => {
    if (request.url === "/events") return void response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
    return void request.pipe(response);
  });
  new WebSocketServer({ server }).on("connection", (socket) => socket.on("message", (data) => socket.send(String(data))));
  stand.set(ID, { kind: "awake", address });
  const reported = await visit(`https://localhost:${stand.port}/page`, promise, ["--ignore-certificate-errors"]);
  t.same(reported, { page: "h2", fetched: "h2", echoed: "echoed", waiting: ["CONNECTED", "hello", 1000], own: ["hello", 1000] });
  const sockets = records.filter(({ status }) => status === 101);
  t.same(
    sockets.map(({ protocol }) => protocol),
    ["h2", "h2"],
    "WebSockets by extended CONNECT",
  );
});
