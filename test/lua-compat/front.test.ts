import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request as openRequest, type IncomingMessage, type RequestOptions, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import WebSocket, { WebSocketServer } from "ws";
import { eventually } from "../fixtures/eventually.ts";

/** Debian's own nginx on the very files of lua-compat, between Unix sockets; behind it a server in place of the edge. */
const folder = mkdtempSync(join(tmpdir(), "berth-nginx-"));
const edge = join(folder, "edge.sock");
const front = join(folder, "front.sock");
const lua = join(import.meta.dirname, "../../lua-compat");

let answer: (request: IncomingMessage, response: ServerResponse) => void = () => {};
const server = createServer({ maxHeaderSize: 65_536 }, (request, response) => answer(request, response));
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
await new Promise<void>((resolve) => server.listen(edge, resolve));

writeFileSync(
  join(folder, "berth-http.conf"),
  readFileSync(join(lua, "berth-http.conf"), "utf8").replace("server 127.0.0.1:8080;", `server unix:${edge};`),
);
const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join("\n");
writeFileSync(
  join(folder, "nginx.conf"),
  `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log warn;
events {}
http {
  access_log off;
  ${temporary}
  include ${folder}/berth-http.conf;
  server { listen unix:${front}; include ${lua}/berth-front.conf; }
}`,
);
// Should this test be killed, the kernel ends nginx.
const nginx = spawn("setpriv", ["--pdeathsig=TERM", "nginx", "-p", folder, "-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")], {
  stdio: ["ignore", "inherit", "inherit"],
  env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
});
const ended = once(nginx, "exit");
t.teardown(async () => {
  nginx.kill("SIGTERM");
  await ended;
  sockets.close();
  server.close();
  server.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});
await eventually(
  () => `nginx listens:\n${readFileSync(join(folder, "error.log"), "utf8")}`,
  async () => {
    const socket = connect(front);
    const open = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)]).catch(() => false);
    socket.destroy();
    return open;
  },
);

/** A request at nginx whose body is still open. */
function begin(options: RequestOptions) {
  const request = openRequest({ socketPath: front, agent: false, ...options });
  const response = once(request, "response").then(([reply]) => reply as IncomingMessage);
  return { request, response };
}

/** Each call waits for the next piece of a body; undefined at its end. */
function pieces(body: IncomingMessage): () => Promise<string | undefined> {
  const iterator = body[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await iterator.next();
    return done ? undefined : String(value);
  };
}

async function ask(options: RequestOptions): Promise<{ response: IncomingMessage; body: string }> {
  const { request, response } = begin(options);
  request.end();
  const reply = await response;
  let body = "";
  for await (const piece of reply) body += String(piece);
  return { response: reply, body };
}

t.test("the path and query arrive byte for byte", async (t) => {
  answer = (request, response) => response.end(request.url);
  for (const path of [
    "/",
    "//a//b",
    "/a/%2e%2e/b%2Fc",
    "/a/./b/../c",
    "/a?b=%20+c&&d=/../",
    "/%C3%BC?x=%zz",
    "/a;b=c,d",
    "/api/docker/containers/proxy/1//x/?",
  ]) {
    t.equal((await ask({ path })).body, path);
  }
});

t.test("headers arrive with their odd names, the host as the client wrote it, and the caller's address is added", async (t) => {
  answer = (request, response) => response.end(JSON.stringify(request.headers));
  const { body } = await ask({
    path: "/",
    headers: { host: "Stand.example:8443", x_under_score: "1", "x-user-api-key": "k", cookie: `auth=${"c".repeat(20_000)}` },
  });
  const headers = JSON.parse(body) as Record<string, string>;
  t.equal(headers["x_under_score"], "1");
  t.equal(headers["x-user-api-key"], "k");
  t.equal(headers["host"], "Stand.example:8443");
  t.equal(headers["cookie"]?.length, 20_005);
  t.equal(headers["x-forwarded-proto"], "http");
  t.notOk("upgrade" in headers);
});

t.test("status, reason phrase, repeated and steering headers are the container's own", async (t) => {
  answer = (_request, response) =>
    response
      .writeHead(418, "Short And Stout", {
        "set-cookie": ["a=1", "b=2"],
        "x-accel-redirect": "/elsewhere",
        server: "theirs",
        location: "http://berth/x",
      })
      .end("teapot");
  const { response, body } = await ask({ path: "/" });
  t.equal(response.statusCode, 418);
  t.equal(response.statusMessage, "Short And Stout");
  t.same(response.headers["set-cookie"], ["a=1", "b=2"]);
  t.equal(response.headers["x-accel-redirect"], "/elsewhere");
  t.equal(response.headers["server"], "theirs");
  t.equal(response.headers["location"], "http://berth/x");
  t.equal(body, "teapot");
});

t.test("an event reaches its reader while the stream is open", async (t) => {
  let more: () => void = () => {};
  answer = (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
    more = () => response.end("data: 2\n\n");
  };
  const { request, response } = begin({ path: "/events" });
  request.end();
  const next = pieces(await response);
  t.equal(await next(), "data: 1\n\n");
  more();
  t.equal(await next(), "data: 2\n\n");
  t.equal(await next(), undefined);
});

t.test("an upload reaches the container while it is still being sent", async (t) => {
  const arrived: string[] = [];
  answer = (request, response) => {
    request.on("data", (piece: Buffer) => {
      arrived.push(String(piece));
      if (arrived.length === 1) response.writeHead(200).write("go on");
    });
    request.on("end", () => response.end());
  };
  const { request, response } = begin({ path: "/upload", method: "POST" });
  request.write("first");
  const next = pieces(await response);
  t.equal(await next(), "go on");
  t.same(arrived, ["first"]);
  request.end("second");
  t.equal(await next(), undefined);
  t.same(arrived, ["first", "second"]);
});

t.test("a WebSocket is passed through, with its close code", async (t) => {
  const socket = new WebSocket(`ws+unix:${front}:/api/docker/containers/proxy-ws/1/ws`);
  await once(socket, "open");
  socket.send("text");
  const [text, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
  t.equal(String(text), "text");
  t.notOk(isBinary);
  for (const peer of sockets.clients) peer.close(4001, "enough");
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  t.equal(code, 4001);
  t.equal(String(reason), "enough");
});
