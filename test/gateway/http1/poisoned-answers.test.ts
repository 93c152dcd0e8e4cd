import t from "tap";
import { exchange, get, ID, openRawContainer, openStand, PATH } from "../stand.ts";

const POISON = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";

/** A container's response, with an answer without a request behind it; and what its client shall get. */
const ROWS: [name: string, method: string, response: string, got: RegExp][] = [
  ["a body longer than its length", "GET", `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${POISON}`, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nok$/],
  ["a body behind a HEAD", "HEAD", `HTTP/1.1 200 OK\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n$/],
  ["a body behind a 204", "GET", `HTTP/1.1 204 No\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`, /^HTTP\/1\.1 204 No\r\n[^]*\r\n\r\n$/],
  ["chunks behind a 204", "GET", `HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${POISON}`, /^HTTP\/1\.1 204 No\r\n[^]*\r\n\r\n$/],
  ["a body behind a 304", "GET", `HTTP/1.1 304 Not\r\nContent-Length: ${POISON.length}\r\n\r\n${POISON}`, /^HTTP\/1\.1 304 Not\r\n[^]*\r\n\r\n$/],
  [
    "an answer behind the last chunk",
    "GET",
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${POISON}`,
    /^HTTP\/1\.1 200 OK\r\n[^]*2\r\nok\r\n0\r\n\r\n$/,
  ],
  ["two lengths", "GET", `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: ${2 + POISON.length}\r\n\r\nok${POISON}`, /^HTTP\/1\.1 502 /],
  [
    "a length and a coding",
    "GET",
    `HTTP/1.1 200 OK\r\nContent-Length: ${5 + POISON.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${POISON}`,
    /^HTTP\/1\.1 502 /,
  ],
  ["a coding that is not exactly chunked", "GET", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\n\r\n0\r\n\r\n${POISON}`, /^HTTP\/1\.1 502 /],
  ["bare line feeds", "GET", `HTTP/1.1 200 OK\nContent-Length: 2\n\nok${POISON}`, /^HTTP\/1\.1 502 /],
  ["a folded line", "GET", `HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 2\r\n\r\nok${POISON}`, /^HTTP\/1\.1 502 /],
  ["a space before a colon", "GET", `HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok${POISON}`, /^HTTP\/1\.1 502 /],
  [
    "a switch of protocols without a request for it",
    "GET",
    `HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n${POISON}`,
    /^HTTP\/1\.1 502 /,
  ],
];

for (const [name, method, response, got] of ROWS) {
  t.test(`${name}: an answer without a request reaches no client`, async (t) => {
    const stand = await openStand(t, { forwarder: "splice" });
    let connections = 0;
    const address = await openRawContainer(t, (socket) => {
      const first = connections++ === 0;
      socket.on("data", () => socket.write(first ? response : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"));
    });
    stand.set(ID, { kind: "awake", address });
    t.match(await exchange(stand.port, get(PATH).replace("GET", method)), got);
    t.match(await exchange(stand.port, get(PATH)), /\r\n\r\nright$/, "the next caller gets the answer to its own request");
  });
}

t.test("an answer that comes without a waiting request ends its connection", async (t) => {
  const stand = await openStand(t, { forwarder: "splice" });
  let poison = () => {};
  let closed = Promise.resolve();
  const address = await openRawContainer(t, (socket) => {
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"));
    poison = () => void socket.write(POISON);
    closed = new Promise((resolve) => void socket.once("close", () => resolve()));
  });
  stand.set(ID, { kind: "awake", address });
  await exchange(stand.port, get(PATH));
  poison();
  await closed;
  t.match(await exchange(stand.port, get(PATH)), /\r\n\r\nright$/);
});
