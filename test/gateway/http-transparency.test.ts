import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { bodyOf, echoHead, exchange, get, ID, openContainer, openRawContainer, openStand, PATH } from "./stand.ts";
import { eventually } from "../fixtures/eventually.ts";

const AWAKE = async (test: Test, listener: Parameters<typeof openContainer>[1]) => {
  const stand = await openStand(test);
  const { address, server } = await openContainer(test, listener);
  stand.set(ID, { kind: "awake", address });
  return { ...stand, server };
};

t.test("path and query reach the container byte for byte", async (t) => {
  const { port } = await AWAKE(t, echoHead);
  const rows: [sent: string, seen: string][] = [
    ["", "/"],
    ["/", "/"],
    ["?", "/?"],
    ["?q=1", "/?q=1"],
    ["/a?", "/a?"],
    ["//a//b", "//a//b"],
    ["/a/../b/./c", "/a/../b/./c"],
    ["/a%2e%2e/%2E/%2f%5c", "/a%2e%2e/%2E/%2f%5c"],
    ["/%zz%", "/%zz%"],
    ["/a?b=c?d=/../e&f=%20+;'\"|{}\\^`", "/a?b=c?d=/../e&f=%20+;'\"|{}\\^`"],
    ["/http://evil.example/x", "/http://evil.example/x"],
  ];
  for (const [sent, forwarded] of rows) {
    const answer = await exchange(port, get(PATH + sent));
    t.equal(JSON.parse(answer.slice(answer.indexOf("{"))).url, forwarded, `${sent} arrives as ${forwarded}`);
  }
});

t.test("a target in absolute form loses its authority only", async (t) => {
  const { port } = await AWAKE(t, echoHead);
  const answer = await exchange(port, get(`http://stand.example${PATH}//x?y`));
  t.equal(JSON.parse(answer.slice(answer.indexOf("{"))).url, "//x?y");
});

t.test("status, reason phrase, header case and order, repeated Set-Cookie are the container's own", async (t) => {
  const stand = await openStand(t);
  const head = ["HTTP/1.1 418 Short And Stout", "X-Zeta: 1", "x-alpha: 2", "Set-Cookie: a=1", "SET-COOKIE: b=2; Path=/", "Content-Length: 3"];
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.write([...head, "", "tea"].join("\r\n"))));
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(stand.port, get(PATH));
  t.ok(answer.startsWith(head.join("\r\n")), answer);
  t.ok(answer.endsWith("\r\n\r\ntea"));
  t.notMatch(answer, /\r\ndate:/i, "no Date that the container did not send");
});

t.test("an empty reason phrase stays empty", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.end("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")));
  stand.set(ID, { kind: "awake", address });
  t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 200 \r\n/);
});

t.test("compressed and binary bodies pass untouched both ways", async (t) => {
  const sent = gzipSync(randomBytes(3_000_000));
  let received = "";
  const { port } = await AWAKE(t, async (request, response) => {
    const body = await bodyOf(request);
    received = `${request.headers["content-encoding"]} ${createHash("sha256").update(body).digest("hex")}`;
    response.writeHead(201, { "Content-Encoding": "gzip" });
    response.end(body);
  });
  for (const method of ["POST", "DELETE", "PUT"]) {
    for (const chunked of [false, true]) {
      const request = httpRequest({ port, path: PATH, method, headers: { authorization: "token", "content-encoding": "gzip" } });
      if (chunked) request.setHeader("transfer-encoding", "chunked");
      else request.setHeader("content-length", sent.length);
      request.end(sent);
      const response = await new Promise<IncomingMessage>((resolve, reject) => request.once("response", resolve).once("error", reject));
      const body = await bodyOf(response);
      t.equal(received, `gzip ${createHash("sha256").update(sent).digest("hex")}`, `${method}, chunked ${chunked}`);
      t.ok(body.equals(sent));
      t.equal(response.headers["content-encoding"], "gzip");
      t.equal(response.statusCode, 201);
    }
  }
});

t.test("what belongs to one connection does not travel on, in either direction", async (t) => {
  const { port } = await AWAKE(t, (request, response) => {
    response.setHeader("Connection", "x-bar");
    response.setHeader("X-Bar", "1");
    response.setHeader("Keep-Alive", "timeout=999");
    response.setHeader("Proxy-Authenticate", "Basic");
    response.setHeader("Upgrade", "h2c");
    echoHead(request, response);
  });
  const lines = [
    "X-Foo: 1",
    "Connection: x-foo, close, content-length",
    "Keep-Alive: timeout=1",
    "TE: trailers",
    "Proxy-Authorization: secret",
    "Proxy-Connection: keep-alive",
    "Upgrade: h2c",
    "X-Kept: 1",
  ];
  const answer = await exchange(port, get(PATH, lines));
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  t.notMatch(head, /x-bar|timeout=999|proxy-authenticate|h2c/i);
  const names = (JSON.parse(body.slice(body.indexOf("{"), body.lastIndexOf("}") + 1)).rawHeaders as string[])
    .filter((_, at) => at % 2 === 0)
    .map((name) => name.toLowerCase());
  for (const name of ["x-foo", "keep-alive", "te", "proxy-authorization", "proxy-connection", "upgrade"])
    t.notOk(names.includes(name), `${name} stays here`);
  t.ok(names.includes("x-kept"));
});

t.test("the container learns who asks and from where", async (t) => {
  const { port } = await AWAKE(t, echoHead);
  const forwarded = async (lines: string[]) => {
    const answer = await exchange(port, get(PATH, lines));
    const raw = JSON.parse(answer.slice(answer.indexOf("{"))).rawHeaders as string[];
    return new Map(raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1]]] : [])));
  };
  const plain = await forwarded(["X-Custom: Ünï".normalize()]);
  t.equal(plain.get("x-user-api-key"), "token");
  t.equal(plain.get("authorization"), "token");
  t.equal(plain.get("host"), "stand.example");
  t.equal(plain.get("x-forwarded-for"), "127.0.0.1");
  t.equal(plain.get("x-forwarded-proto"), "http");
  t.equal(plain.get("x-forwarded-host"), "stand.example");
  t.ok(plain.has("x-custom"));
  t.equal((await forwarded(["x-user-api-key: token"])).get("x-user-api-key"), "token");
});

t.test("events of a stream arrive one by one", async (t) => {
  let say: (text: string) => void = () => undefined;
  const { port } = await AWAKE(t, (_, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.flushHeaders();
    say = (text) => void response.write(text);
  });
  const request = httpRequest({ port, path: PATH, headers: { authorization: "token" } });
  request.end();
  const response = await new Promise<IncomingMessage>((resolve) => request.once("response", resolve));
  t.equal(response.headers["content-type"], "text/event-stream", "the head comes before the first event");
  let came = "";
  response.setEncoding("utf8").on("data", (text: string) => (came += text));
  for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
    say(event);
    await eventually(event, () => came.endsWith(event));
  }
  request.destroy();
});

t.test("a body without a length ends with its connection", async (t) => {
  const stand = await openStand(t);
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", () => socket.end("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")),
  );
  stand.set(ID, { kind: "awake", address });
  t.equal(await (await fetch(stand.base + PATH, { headers: { authorization: "token" } })).text(), "until the end");
});

t.test("HEAD, 204 and 304 have no body and keep the connection", async (t) => {
  const { port } = await AWAKE(t, (request, response) => {
    response.writeHead(Number(request.url?.slice(1)), request.method === "HEAD" ? { "Content-Length": "77" } : {});
    response.end();
  });
  const lines = ["Host: x", "Authorization: token", "", ""].join("\r\n");
  const sent = `HEAD ${PATH}/200 HTTP/1.1\r\n${lines}GET ${PATH}/204 HTTP/1.1\r\n${lines}GET ${PATH}/304 HTTP/1.1\r\n${lines}`;
  const answer = await exchange(port, sent, /304 Not Modified[^]*\r\n\r\n/);
  t.match(answer, /200 OK[^]*Content-Length: 77[^]*204 No Content[^]*304 Not Modified/);
});

t.test("a client that expects 100-continue gets it only when the container is there", async (t) => {
  const stand = await openStand(t);
  const { address } = await openContainer(t, async (request, response) => void response.end(await bodyOf(request)));
  stand.set(ID, { kind: "coming" });
  const request = httpRequest({
    port: stand.port,
    path: PATH,
    method: "POST",
    headers: { authorization: "token", expect: "100-continue", "content-length": 4 },
  });
  let isContinued = false;
  request.once("continue", () => {
    isContinued = true;
    request.end("body");
  });
  request.flushHeaders();
  await eventually("it waits", () => stand.watchers(ID) === 1);
  t.notOk(isContinued);
  const answered = new Promise<IncomingMessage>((resolve) => request.once("response", resolve));
  stand.set(ID, { kind: "awake", address });
  t.equal((await bodyOf(await answered)).toString(), "body");
});

t.test("a connection that the container closed while idle costs no request", async (t) => {
  const stand = await openStand(t);
  let connections = 0;
  const address = await openRawContainer(t, (socket) => {
    const mine = ++connections;
    socket.on("data", () => {
      // The first connection answers once, and dies of its second request.
      if (mine === 1 && socket.bytesWritten > 0) return socket.destroy();
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  stand.set(ID, { kind: "awake", address });
  for (let n = 0; n < 2; n++) t.equal(await (await fetch(stand.base + PATH, { headers: { authorization: "token" } })).text(), "ok");
  t.equal(connections, 2);
});

t.test("bytes beyond ASCII in a head stay the bytes that they are, in both directions", async (t) => {
  const stand = await openStand(t);
  const head = "HTTP/1.1 200 Gr\xfc\xdfe\r\nX-Latin: caf\xe9\r\nX-Utf: caf\xc3\xa9\r\nContent-Length: 0\r\n";
  let target = "";
  const address = await openRawContainer(t, (socket) => {
    socket.on("data", (bytes: Buffer) => {
      target += bytes.toString("latin1");
      if (target.endsWith("\r\n\r\n") || target.endsWith("body")) socket.end(Buffer.from(`${head}\r\n`, "latin1"));
    });
  });
  stand.set(ID, { kind: "awake", address });
  const lines = ["X-Latin: caf\xe9", "X-Utf: caf\xc3\xa9"];
  const rows = [get(PATH, lines), `${get(PATH, [...lines, "Content-Length: 4"]).replace("GET", "POST")}body`];
  for (const sent of rows) {
    target = "";
    const answer = await exchange(stand.port, Buffer.from(sent, "latin1"));
    t.ok(answer.startsWith(head), answer);
    for (const line of lines) t.ok(target.includes(`\r\n${line}\r\n`), target);
  }
});

t.test("a response may have as many header lines as fit into its head", async (t) => {
  const stand = await openStand(t);
  const lines = Array.from({ length: 3_000 }, (_, n) => `x-${n}: ${n}`);
  const address = await openRawContainer(t, (socket) =>
    socket.once("data", () => socket.end(["HTTP/1.1 200 OK", ...lines, "Content-Length: 3", "", "all"].join("\r\n"))),
  );
  stand.set(ID, { kind: "awake", address });
  const answer = await exchange(stand.port, get(PATH));
  t.ok(answer.includes(`\r\n${lines.join("\r\n")}\r\nContent-Length: 3\r\n`), "every one of them");
});

t.test("a response that cannot be passed on as it is meant is a 502", async (t) => {
  const stand = await openStand(t);
  const rows = [
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
  ];
  for (const head of rows) {
    const address = await openRawContainer(t, (socket) => socket.once("data", () => socket.write(head)));
    stand.set(ID, { kind: "awake", address });
    t.match(await exchange(stand.port, get(PATH)), /^HTTP\/1\.1 502 /, head);
  }
  t.equal(stand.uses.get(ID)?.open, 0);
});
