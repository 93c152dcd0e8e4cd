import t from "tap";
import { MessageRefused, createHttp1, type ResponseHead } from "../../../gateway/http1/message-reader.ts";

const http1 = createHttp1({ underscoreHeaders: "drop" });
const NOTHING = { remove: [], add: [] };

function read(text: string): ResponseHead {
  const reader = http1.responses();
  const bytes = Buffer.from(text, "latin1");
  if (reader.readHead(bytes, 0, bytes.length) !== bytes.length) throw new Error("the head is not complete");
  return reader.head;
}

const response = (lines: string[], first = "HTTP/1.1 200 OK") => read([first, ...lines, "", ""].join("\r\n"));

t.test("the status line is passed on as it came", async (t) => {
  const rows: [line: string, status: number, reason: string, minorVersion: number][] = [
    ["HTTP/1.1 200 OK", 200, "OK", 1],
    ["HTTP/1.0 404 Not  \xe4 Found ", 404, "Not  \xe4 Found ", 0],
    ["HTTP/1.1 999 ", 999, "", 1],
    ["HTTP/1.1 204", 204, "", 1],
  ];
  for (const [line, status, reason, minorVersion] of rows) {
    const head = response([], line);
    t.same([head.status, head.reason, head.minorVersion, head.length], [status, reason, minorVersion, line.length + 4], line);
  }
});

t.test("what no response may look like", async (t) => {
  const rows = [
    "HTTP/1.1 099 X\r\n\r\n",
    "HTTP/1.1 20 X\r\n\r\n",
    "HTTP/1.1 2000 X\r\n\r\n",
    "HTTP/1.1  200 X\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/0.9 200 OK\r\n\r\n",
    "RTSP/1.0 200 OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 200 a\0b\r\n\r\n",
    "HTTP/1.1 200 OK\nX: y\n\n",
    "HTTP/1.1 200 OK\r\rX: y\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
  ];
  for (const row of rows) t.throws(() => read(row), MessageRefused, JSON.stringify(row));
});

t.test("how a body ends", async (t) => {
  const rows: [line: string, lines: string[], method: string, kind: string, length: number, persistent: boolean][] = [
    ["HTTP/1.1 200 OK", ["Content-Length: 5"], "GET", "length", 5, true],
    ["HTTP/1.1 200 OK", ["Content-Length: 5"], "HEAD", "none", 5, true],
    ["HTTP/1.1 200 OK", ["Content-Length: 0"], "GET", "none", 0, true],
    ["HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "GET", "chunked", 0, true],
    ["HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "HEAD", "none", 0, true],
    ["HTTP/1.1 200 OK", [], "GET", "close", 0, true],
    ["HTTP/1.1 200 OK", ["Connection: close"], "GET", "close", 0, false],
    ["HTTP/1.0 200 OK", ["Content-Length: 5"], "GET", "length", 5, false],
    ["HTTP/1.0 200 OK", ["Content-Length: 5", "Connection: keep-alive"], "GET", "length", 5, true],
    ["HTTP/1.1 304 N", ["Content-Length: 5"], "GET", "none", 0, true],
    ["HTTP/1.1 304 N", ["Transfer-Encoding: chunked"], "GET", "none", 0, true],
    ["HTTP/1.1 204 N", [], "GET", "none", 0, true],
    ["HTTP/1.1 103 N", [], "GET", "none", 0, true],
    // What they say may be followed by what they say.
    ["HTTP/1.1 204 N", ["Content-Length: 5"], "GET", "none", 0, false],
    ["HTTP/1.1 204 N", ["Transfer-Encoding: chunked"], "GET", "none", 0, false],
  ];
  for (const [line, lines, method, kind, length, persistent] of rows) {
    const head = response(lines, line);
    t.same([head.bodyKind(method), head.bodyLength, head.persistent], [kind, length, persistent], `${line} ${lines.join()} ${method}`);
  }
});

t.test("a head of which nothing changes need not be written", async (t) => {
  const plain = response(["Server: x", "Content-Length: 5", "x_y: z"]);
  t.equal(plain.write(NOTHING), undefined);
  t.equal(plain.write({ remove: ["date"], add: [] }), undefined);
  t.equal(plain.write({ remove: ["server"], add: [] }), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx_y: z\r\n\r\n");
  t.equal(
    plain.write({ remove: [], add: [["X", "y"]] }, "Connection: close\r\n"),
    "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nx_y: z\r\nX: y\r\nConnection: close\r\n\r\n",
  );
  t.equal(response(["Connection: keep-alive", "A: b", "Keep-Alive: timeout=5"]).write(NOTHING), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
  t.equal(response(["A: b"], "HTTP/1.0 200").write(NOTHING), "HTTP/1.1 200\r\nA: b\r\n\r\n");
});

t.test("the coding goes where the body is taken out of its chunks, and where there can be none", async (t) => {
  const chunked = response(["A: b", "Transfer-Encoding: chunked", "Trailer: X"]);
  t.equal(chunked.write(NOTHING), undefined);
  t.equal(chunked.write(NOTHING, "", true), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
  t.equal(response(["A: b", "Transfer-Encoding: chunked"], "HTTP/1.1 204 N").write(NOTHING), "HTTP/1.1 204 N\r\nA: b\r\n\r\n");
  t.equal(response(["A: b", "Content-Length: 5"], "HTTP/1.1 204 N").write(NOTHING), "HTTP/1.1 204 N\r\nA: b\r\n\r\n");
});

t.test("a switch of protocols names the protocol", async (t) => {
  t.equal(response(["Upgrade: WebSocket", "Connection: Upgrade"], "HTTP/1.1 101 S").upgrade, "websocket");
  t.equal(response(["Upgrade: h2c"]).upgrade, undefined, "which another response does not");
  t.same(response(["A: b", "Set-Cookie: c", "SET-COOKIE: d"]).names(), ["a", "set-cookie", "set-cookie"]);
});

t.test("a line is found and removed by its whole name, however long it and its neighbours are", (t) => {
  const lines = Array.from({ length: 70 }, (_, at) => `${"x".repeat(at + 1)}: ${at}`);
  const head = response(lines);
  for (const length of [1, 2, 31, 32, 33, 64, 65, 70]) {
    const name = "x".repeat(length);
    t.equal(head.header(name), String(length - 1), `${length}`);
    t.equal(head.header(`y${name.slice(1)}`), undefined, `another name of ${length}`);
    const rest = lines.filter((_, at) => at !== length - 1);
    t.equal(head.write({ remove: [name], add: [] }), ["HTTP/1.1 200 OK", ...rest, "", ""].join("\r\n"), `without that of ${length}`);
  }
  t.equal(response(["xx: 1"]).write({ remove: ["x".repeat(34)], add: [] }), undefined, "a name of 34 is not one of 2");
  t.end();
});

t.test("cookies are removed by the names that they set, and other lines of the same length stay", (t) => {
  const edits = { remove: [], add: [], removeCookies: ["theirs"] };
  const written = (lines: string[]) => response(lines).write(edits);
  t.equal(written(["Connection: close", "Server: x"]), "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n");
  t.equal(written(["X-Ten-Long: theirs=1", "SET-cookie: ours=1"]), undefined, "nothing to remove");
  t.equal(written(["Set-Cookie: ours=1", "set-cookie: theirs=1; Path=/", "A: b"]), "HTTP/1.1 200 OK\r\nSet-Cookie: ours=1\r\nA: b\r\n\r\n");
  t.end();
});
