import t from "tap";
import { exchange, get, ID, openContainer, openRawContainer, openStand, PATH, WS_PATH } from "../stand.ts";

const ORIGIN_WIDE = [
  "Service-Worker-Allowed: /",
  'CLEAR-SITE-DATA: "cookies"',
  'NEL: {"report_to":"a","max_age":86400}',
  "Strict-Transport-Security: max-age=86400",
];
const NAMES = /service-worker-allowed|clear-site-data|nel:|strict-transport-security/i;

t.test("a container cannot widen a service worker's scope, clear the origin's data, have its requests reported, nor forbid plain HTTP", async (t) => {
  const stand = await openStand(t);
  const head = ["HTTP/1.1 200 OK", "X-First: 1", ...ORIGIN_WIDE, "X-Last: 2", "Content-Length: 3"];
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.end([...head, "", "yes"].join("\r\n"))));
  stand.set(ID, { kind: "awake", address });
  for (const lines of [[], ["Origin: http://stand.example"]]) {
    const answer = await exchange(stand.port, get(PATH, lines));
    t.match(answer, /^HTTP\/1\.1 200 OK\r\nX-First: 1\r\nX-Last: 2\r\nContent-Length: 3\r\n/, "the others stay as they are");
    t.notMatch(answer, NAMES);
  }
});

t.test("nor in an informational response", async (t) => {
  const stand = await openStand(t);
  const early = ["HTTP/1.1 103 Early Hints", ...ORIGIN_WIDE, "Link: </a.css>; rel=preload", "", ""].join("\r\n");
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.end(`${early}HTTP/1.1 204 No Content\r\n\r\n`)));
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(stand.port, get(PATH));
  t.match(answer, "204 No Content");
  t.notMatch(answer, NAMES);
});

t.test("nor in a trailer, nor with the answer to an upgrade", async (t) => {
  const stand = await openStand(t);
  const chunked = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "3", "yes", "0", ...ORIGIN_WIDE, "", ""].join("\r\n");
  const refusal = ["HTTP/1.1 403 Forbidden", ...ORIGIN_WIDE, "Content-Length: 0", "", ""].join("\r\n");
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", (bytes: Buffer) => void socket.end(/upgrade: websocket/i.test(bytes.toString()) ? refusal : chunked)),
  );
  stand.set(ID, { kind: "awake", address });
  t.notMatch(await exchange(stand.port, get(PATH)), NAMES);
  const upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
  const request = get(PATH, upgrade).replace("Connection: close\r\n", "");
  const answer = await exchange(stand.port, request);
  t.match(answer, /^HTTP\/1\.1 403/);
  t.notMatch(answer, NAMES);
});

t.test("a browser that asks for a service worker's script is given one that unregisters itself, and the container gets no request", async (t) => {
  const stand = await openStand(t);
  let requests = 0;
  const { address } = await openContainer(t, (_, response) => {
    requests++;
    response.end();
  });
  stand.set(ID, { kind: "awake", address });
  const lines = ["Service-Worker: script", "Sec-Fetch-Dest: serviceworker"];
  const without = get(`${PATH}/sw.js`, lines).replace("Authorization: token\r\n", "");
  for (const request of [get(`${PATH}/sw.js`, lines), without, get(`${WS_PATH}/sw.js`, lines)]) {
    const answer = await exchange(stand.port, request);
    t.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    t.match(answer, /\r\nContent-Type: text\/javascript; charset=utf-8\r\n/);
    t.match(answer, /\r\nCache-Control: no-store\r\n/);
    t.match(answer, "registration.unregister()");
  }
  t.equal(requests, 0);
});
