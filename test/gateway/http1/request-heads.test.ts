import t from "tap";
import { MessageRefused, createHttp1, type RequestHead } from "../../../gateway/http1/message-reader.ts";

const http1 = createHttp1({ underscoreHeaders: "drop" });
const NOTHING = { remove: [], add: [] };

function read(text: string, from = http1): RequestHead {
  const reader = from.requests();
  const bytes = Buffer.from(text, "latin1");
  if (reader.readHead(bytes, 0, bytes.length) !== bytes.length) throw new Error("the head is not complete");
  return reader.head;
}

function request(lines: string[], first = "GET /a HTTP/1.1"): RequestHead {
  return read([first, "Host: h", ...lines, "", ""].join("\r\n"));
}

function refusalOf(act: () => unknown): number | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof MessageRefused) return error.status;
    throw error;
  }
  return undefined;
}

t.test("a head says what it is", async (t) => {
  const head = read("POST /a/%zz?b=c|d HTTP/1.1\r\nhOST: h:80\r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\r\n");
  const { method, target, minorVersion, bodyKind, bodyLength, persistent, websocket, expectsContinue } = head;
  t.same(
    { method, target, minorVersion, bodyKind, bodyLength, persistent, websocket, expectsContinue },
    {
      method: "POST",
      target: "/a/%zz?b=c|d",
      minorVersion: 1,
      bodyKind: "length",
      bodyLength: 12,
      persistent: true,
      websocket: false,
      expectsContinue: true,
    },
  );
});

t.test("what says how long a body is", async (t) => {
  const rows: [lines: string[], kind: string, length: number][] = [
    [[], "none", 0],
    [["Content-Length: 0"], "none", 0],
    [["Content-Length: 9007199254740991"], "length", 9_007_199_254_740_991],
    [["transfer-encoding:CHUNKED"], "chunked", 0],
  ];
  for (const [lines, kind, length] of rows) {
    const { bodyKind, bodyLength } = request(lines);
    t.same([bodyKind, bodyLength], [kind, length], lines.join());
  }
});

t.test("whether the client keeps its connection", async (t) => {
  const rows: [version: string, lines: string[], persistent: boolean][] = [
    ["1.1", [], true],
    ["1.1", ["Connection: close"], false],
    ["1.1", ["Connection: x, CLOSE"], false],
    ["1.1", ["Connection: keep-alive", "Connection: close"], false],
    ["1.1", ["Connection: x-close"], true],
    ["1.0", [], false],
    ["1.0", ["Connection: Keep-Alive"], true],
    ["1.0", ["Connection: keep-alive, close"], false],
  ];
  for (const [version, lines, persistent] of rows)
    t.equal(request(lines, `GET / HTTP/${version}`).persistent, persistent, `${version} ${lines.join()}`);
});

t.test("what asks to become a WebSocket", async (t) => {
  const asks = ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"];
  t.equal(request(asks).websocket, true);
  t.equal(request(asks, "GET / HTTP/1.0").websocket, false, "not by HTTP/1.0");
  t.equal(request(asks, "POST / HTTP/1.1").websocket, false, "not by POST");
  t.equal(request([...asks, "Content-Length: 1"]).websocket, false, "not with a body");
  t.equal(request([...asks, "Upgrade: h2c"]).websocket, false, "not with a second protocol");
  t.equal(request(["Upgrade: websocket"]).websocket, false, "not where Connection does not name it");
  t.equal(request(["Connection: upgrade", "Upgrade: websocket, h2c"]).websocket, false);
});

t.test("look-ups ignore case, join what is repeated and trim spaces and tabs only", async (t) => {
  const head = request(["X-A: 1", "x-a: \t2 \t", "COOKIE: a=1", "Cookie: b=2", "X-B:\xa0b\xa0", "X-C:", "X-Ab: 3"]);
  t.equal(head.header("x-a"), "1, 2");
  t.equal(head.header("cookie"), "a=1; b=2");
  t.equal(head.header("x-b"), "\xa0b\xa0");
  t.equal(head.header("x-c"), "");
  t.equal(head.header("x-d"), undefined);
});

t.test("lines travel on as the bytes they came as, but for those of the connection", async (t) => {
  const head = request([
    "a:1",
    "Connection: keep-alive, X-Gone, host, x-user-api-key, x-forwarded-for, content-length, transfer-encoding",
    "B:  2\t",
    "x-gone: 3",
    "Keep-Alive: timeout=5",
    "X-Forwarded-For: 6.6.6.6",
    "TE: trailers",
    "Proxy-Authorization: x",
    "proxy-connection: x",
    "Upgrade: h2c",
    "X-User-Api-Key: key",
    "Trailer: X-T",
    "Transfer-Encoding: chunked",
  ]);
  const edits = { remove: ["a"], add: [["X-New", "n\xe9w"]] as const };
  t.equal(
    head.write("/b", edits, "Connection: Upgrade\r\n"),
    "GET /b HTTP/1.1\r\nHost: h\r\nB:  2\t\r\nX-Forwarded-For: 6.6.6.6\r\nX-User-Api-Key: key\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\nX-New: n\xe9w\r\nConnection: Upgrade\r\n\r\n",
  );
  t.same(
    head.lines(edits).map(([name]) => name),
    ["Host", "B", "X-Forwarded-For", "X-User-Api-Key", "Trailer", "Transfer-Encoding", "X-New"],
  );
});

t.test("lines with an underscore are taken for not there, or kept where that is set", async (t) => {
  const text = "GET / HTTP/1.1\r\nHost: h\r\nX_User: a\r\nX-User_: b\r\nX-User: c_c\r\nContent_Length: 5\r\n\r\n";
  const head = read(text);
  t.equal(head.header("x_user"), undefined);
  t.equal(head.write("/", NOTHING), "GET / HTTP/1.1\r\nHost: h\r\nX-User: c_c\r\n\r\n");
  t.same(head.names(), ["host", "x-user"]);
  const passing = read(text, createHttp1({ underscoreHeaders: "pass" }));
  t.equal(passing.header("x_user"), "a");
  t.equal(passing.write("/", NOTHING), text);
});

t.test("what is added cannot become a second line", async (t) => {
  const head = request([]);
  for (const value of ["a\r\nB: c", "a\nb", "a\0", "\u010a", "\u{1f600}"])
    t.throws(() => head.write("/", { remove: [], add: [["X", value]] }), Error, JSON.stringify(value));
  for (const target of ["/a b", "/a\r\nX: y", "/\u0120", ""]) t.throws(() => head.write(target, NOTHING), Error, JSON.stringify(target));
});

t.test("a head may be as long as the limit and no longer", async (t) => {
  const small = createHttp1({ underscoreHeaders: "drop", maxHeadBytes: 1_000, maxHeaderLines: 10 });
  const filled = (length: number) => {
    const start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    return `${start}${"x".repeat(length - start.length - 4)}\r\n\r\n`;
  };
  t.equal(read(filled(1_000), small).method, "GET");
  for (const pieces of [1_001, 400, 1]) {
    const reader = small.requests();
    const bytes = Buffer.from(filled(1_001) + filled(100), "latin1");
    const status = refusalOf(() => {
      for (let at = 0; at < bytes.length; at += pieces) reader.readHead(bytes, at, Math.min(at + pieces, bytes.length));
    });
    t.equal(status, 431, `in pieces of ${pieces}`);
  }
  t.equal(
    refusalOf(() => small.requests().readHead(Buffer.from(`GET /${"x".repeat(1_000)}`), 0, 1_005)),
    414,
    "a target alone",
  );
  const lines = (count: number) => `GET / HTTP/1.1\r\nHost: h\r\n${"X: y\r\n".repeat(count - 1)}\r\n`;
  t.equal(read(lines(10), small).names().length, 10);
  t.equal(
    refusalOf(() => read(lines(11), small)),
    431,
    "a line too many",
  );
});

t.test("a long head is read as a short one, whole and in pieces", async (t) => {
  for (const length of [4_000, 5_000, 20_000, 65_000]) {
    const text = `GET / HTTP/1.1\r\nHost: h\r\nX: ${"x".repeat(length)}\r\nY: y\r\n\r\n`;
    for (const size of [text.length, 1_000, 7]) {
      const reader = http1.requests();
      const bytes = Buffer.from(`${text}rest`);
      let end = -1;
      let at = 0;
      for (; end === -1; at += size) {
        const piece = bytes.subarray(at, at + size);
        end = reader.readHead(piece, 0, piece.length);
      }
      t.same(
        [reader.head.header("x")?.length, reader.head.header("y"), at - size + end],
        [length, "y", text.length],
        `${length} in pieces of ${size}`,
      );
    }
  }
});

t.test("Connection has no more members than a real client sends", async (t) => {
  t.equal(
    refusalOf(() => request([`Connection: ${"a,".repeat(1_025)}`])),
    431,
  );
  t.equal(request([`Connection: ${"x-a,".repeat(500)}`, "X-A: b"]).write("/", NOTHING), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
});

t.test("the host of an absolute target is the Host", async (t) => {
  const absolute = (target: string, host: string) => refusalOf(() => read(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
  t.equal(absolute("http://A.b/x", "a.B"), undefined);
  t.equal(absolute("http://a:80/x", "a"), undefined);
  t.equal(absolute("https://a?x", "a:443"), undefined);
  t.equal(absolute("http://[::1]:8/", "[::1]:8"), undefined);
  t.equal(absolute("http://a:443/", "a"), 400);
  t.equal(absolute("http://b/", "a"), 400);
  t.equal(absolute("http://a@b/", "b"), 400);
});

t.test("a head has begun from its first byte until its last, and an idle reader holds nothing of it", async (t) => {
  const reader = http1.requests();
  t.equal(reader.begun, false);
  reader.readHead(Buffer.from("\r\n"), 0, 2);
  t.equal(reader.begun, false, "an empty line is no head");
  for (const byte of "GET / HTTP/1.1\r\nHost: h\r\n\r") {
    t.equal(reader.readHead(Buffer.from(byte), 0, 1), -1);
    if (!reader.begun) t.fail("it has begun");
  }
  t.equal(reader.readHead(Buffer.from("\nrest"), 0, 5), 1);
  t.equal(reader.begun, false);
  t.equal(reader.head.target, "/");
  reader.dropHead();
  t.throws(() => reader.head, "nor the last head, once that was taken");
  reader.readHead(Buffer.from("GET"), 0, 3);
  reader.close();
  reader.close();
  t.equal(reader.begun, false);
});

t.test("heads of many connections that come piece by piece at the same time are kept apart", async (t) => {
  const texts = Array.from({ length: 50 }, (_, index) =>
    Buffer.from(`GET /${index} HTTP/1.1\r\nHost: h${index}\r\nX-${index}: ${"y".repeat(index)}\r\n\r\n`),
  );
  const readers = texts.map(() => http1.requests());
  const longest = Math.max(...texts.map(({ length }) => length));
  for (let at = 0; at < longest; at += 3)
    for (const [index, text] of texts.entries()) if (at < text.length) readers[index]?.readHead(text, at, Math.min(at + 3, text.length));
  t.same(
    readers.map(({ head }) => [head.target, head.header("host")]),
    texts.map((_, index) => [`/${index}`, `h${index}`]),
  );
});
